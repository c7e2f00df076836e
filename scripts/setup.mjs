/** Gets what the repository needs to be built and tested on a machine that has Node and Rust. */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { collect, findInPath, installWithApt, PlainError, root, run } from './system.mjs'

/**
 * Installs the npm packages of a directory unless those of its very lock file are there.
 * @param {string} [directory] below the root
 */
export async function installPackages(directory = '.') {
  const installed = await changedAt(join(directory, 'node_modules', '.package-lock.json'))
  if (
    installed === undefined ||
    installed < /** @type {number} */ (await changedAt(join(directory, 'package-lock.json')))
  ) {
    // Not `npm ci`: it refuses a lock file that was written where the packages of some other platform were not to be had.
    const options = ['--no-save', '--no-audit', '--no-fund', '--loglevel=error']
    if (!(await run('npm', ['--prefix', directory, 'install', ...options]))) {
      throw new PlainError(
        `npm could not install the packages of ${join(directory, 'package-lock.json')}: see its message above.`,
      )
    }
  }
}

/** Sees that Rust can compile the addon. */
export async function requireRust() {
  if (!(await collect('cargo', ['--version'])).ok) {
    throw new PlainError('Building the addon needs Rust 1.88 or newer: install it from https://rustup.rs.')
  }
  if (process.platform === 'linux') {
    await provideTool('cc', 'build-essential', 'Building the addon needs a C compiler')
  }
}

/** Sees that cargo's formatter and linter are there. */
export async function provideRustComponents() {
  for (const [command, component] of /** @type {const} */ ([
    ['fmt', 'rustfmt'],
    ['clippy', 'clippy'],
  ])) {
    const isThere = async () => (await collect('cargo', [command, '--version'])).ok
    if (!(await isThere()) && !((await run('rustup', ['component', 'add', component])) && (await isThere()))) {
      throw new PlainError(`The checks need cargo ${command}: rustup component add ${component}.`)
    }
  }
}

/**
 * Sees that a program is there, and installs its package if the system lets us.
 * @param {string} name
 * @param {string} packageName Debian's and Ubuntu's
 * @param {string} need begins the sentence that is said when it stays missing
 */
export async function provideTool(name, packageName, need) {
  if ((await findInPath(name)) === undefined && !(await installWithApt([packageName]))) {
    throw new PlainError(`${need}: install ${name} (Debian and Ubuntu: apt-get install ${packageName}).`)
  }
}

/** @param {string} path */
async function changedAt(path) {
  return await stat(join(root, path)).then(
    (found) => found.mtimeMs,
    () => undefined,
  )
}
