/** A process that calls `getOrLoad` as it is told, and asks the test for what its loads read. */

import { Cache } from '../../cache/index.ts'
import { getOrLoad } from '../../origin/index.ts'

/** What the test sends: how many callers to let loose on the entry, or what a load has read. */
export type ToLoader = { readonly callers: number; readonly waitMs: number } | { readonly read: string }

/** What this process sends: that it is ready, that a load began, or what the callers were given. */
export type FromLoader = 'ready' | 'loading' | { readonly given: readonly string[] }

const [secret = '', redisUrl = ''] = process.argv.slice(2)
const cache = new Cache({ secret, redisUrl, local: false, commandTimeoutMs: 20_000 })
const loads: ((value: string) => void)[] = []

function send(message: FromLoader): void {
  process.send?.(message)
}

process.on('message', async (message: ToLoader) => {
  if ('read' in message) {
    loads.shift()?.(message.read)
    return
  }
  const call = () =>
    getOrLoad(cache, 'user', { user_id: 5 }, { waitMs: message.waitMs }, () => {
      send('loading')
      return new Promise((resolve) => loads.push(resolve))
    })
  const values = await Promise.all(Array.from({ length: message.callers }, call))
  send({ given: [...new Set(values)] })
})
process.on('disconnect', () => process.exit())
send('ready')
