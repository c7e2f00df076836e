/** What a Worker's build makes of a module: one text, for the Workers runtime. */

import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Bundles a module of this repository. `constants` are expressions by the names that it declares for them. */
export async function bundleWorker(entry: string, constants: Readonly<Record<string, string>> = {}): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker', 'browser', 'import'],
    minify: true,
    write: false,
    banner: {
      js: Object.entries(constants)
        .map(([name, expression]) => `const ${name} = ${expression};`)
        .join('\n'),
    },
  })
  return outputFiles[0]?.text ?? ''
}
