/** The binaries of Bun and Deno. Their npm packages link to these when they are installed, if npm lets them. */

import { chmod } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const requireHere = createRequire(import.meta.url)
const isMusl =
  process.platform === 'linux' && !('glibcVersionRuntime' in (process.report.getReport() as { header: object }).header)
const suffix = process.platform === 'win32' ? '.exe' : ''

export async function findBun(): Promise<string> {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  const arch = process.arch === 'arm64' ? 'aarch64' : 'x64'
  const platform = `@oven/bun-${system}-${arch}${isMusl ? '-musl' : ''}`
  // Where npm lets the installation of `bun` run, it moves the binary there, under this name on every system.
  return find(platform, join('bin', `bun${suffix}`)).catch(() => find('bun', join('bin', 'bun.exe')))
}

/** Deno is not published for musl. */
export async function findDeno(): Promise<string> {
  const library = process.platform === 'linux' ? '-glibc' : ''
  return find(`@deno/${process.platform}-${process.arch}${library}`, `deno${suffix}`)
}

async function find(name: string, file: string): Promise<string> {
  const path = join(dirname(requireHere.resolve(`${name}/package.json`)), file)
  // Whether the file can be run is one of the things that the blocked installation would see to.
  await chmod(path, 0o755)
  return path
}
