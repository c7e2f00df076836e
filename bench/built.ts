/** The build, as it is published: what a loader makes of the sources would be another program. */

import type * as addon from '@mizan/cache'

const built: typeof addon = await import(new URL('../dist/index.mjs', import.meta.url).href)

export const { Cache, deriveCacheKey } = built
