/** What the scripts need of the machine: commands, a search in PATH, packages of the system. Node's own modules only. */

import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * npm and npx are command files on Windows, which only a shell can start.
 * @param {string} command
 */
const needsShell = (command) => process.platform === 'win32' && ['npm', 'npx'].includes(command)

/** An error that its message explains in full, in one sentence that also says what to do. */
export class PlainError extends Error {}

/**
 * Runs a command in the repository with its output shown.
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [environment] added to this process's
 * @returns {Promise<boolean>} whether it ended well
 */
export function run(command, args, environment = {}) {
  const child = spawn(command, args, {
    cwd: root,
    stdio: 'inherit',
    shell: needsShell(command),
    env: { ...process.env, ...environment },
  })
  return new Promise((resolve) => {
    child.once('error', (error) => {
      console.error(`${command}: ${error.message}`)
      resolve(false)
    })
    child.once('close', (code) => resolve(code === 0))
  })
}

/**
 * Runs a command in the repository and collects what it prints, on either stream; `show` passes it on as well.
 * @param {string} command
 * @param {string[]} args
 * @param {{ environment?: NodeJS.ProcessEnv, show?: boolean }} [options]
 * @returns {Promise<{ ok: boolean, output: string }>}
 */
export function collect(command, args, { environment = {}, show = false } = {}) {
  const child = spawn(command, args, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: needsShell(command),
    env: { ...process.env, ...environment },
  })
  let output = ''
  for (const [from, to] of /** @type {const} */ ([
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ])) {
    from.setEncoding('utf8').on('data', (text) => {
      output += text
      if (show) {
        to.write(text)
      }
    })
  }
  return new Promise((resolve) => {
    child.once('error', () => resolve({ ok: false, output }))
    child.once('close', (code) => resolve({ ok: code === 0, output }))
  })
}

/**
 * The path of a program, or undefined.
 * @param {string} name
 */
export async function findInPath(name) {
  const file = process.platform === 'win32' ? `${name}.exe` : name
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, file)
    if (
      directory !== '' &&
      (await access(path, constants.X_OK).then(
        () => true,
        () => false,
      ))
    ) {
      return path
    }
  }
}

/**
 * Installs packages of Debian or Ubuntu, where apt-get is there and allowed to.
 * @param {string[]} packages
 * @returns {Promise<boolean>} whether they are installed now
 */
export async function installWithApt(packages) {
  if ((await findInPath('apt-get')) === undefined) {
    return false
  }
  const isAdministrator = process.getuid?.() === 0
  if (!isAdministrator && !(await collect('sudo', ['-n', 'true'])).ok) {
    return false
  }
  const prefix = [...(isAdministrator ? [] : ['sudo', '-n']), 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq']
  const apt = (/** @type {string[]} */ ...args) => {
    const [command = '', ...rest] = [...prefix, ...args]
    return run(command, rest)
  }
  console.log(`Installing ${packages.join(' and ')} with apt-get`)
  await apt('update')
  return await apt('install', '--yes', '--no-install-recommends', ...packages)
}

/**
 * Runs a script's main function: a plain error is its one sentence, anything else comes with its stack.
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main()
  } catch (error) {
    console.error(error instanceof PlainError ? error.message : error)
    process.exitCode = 1
  }
}

/**
 * Whether a module is the program that Node was started with.
 * @param {string} moduleUrl
 */
export function isProgram(moduleUrl) {
  return process.argv[1] !== undefined && fileURLToPath(moduleUrl) === process.argv[1]
}
