/** A Python with redis-py, for the tests in which Node and Python share one Redis. As a program: sets it up. */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { collect, installWithApt, isProgram, PlainError, root, runMain } from './system.mjs'

/** The newest redis-py that runs on Python 3.9. */
const REDIS_PY = 'redis==7.0.1'
const ENVIRONMENT = join(root, 'target', 'python')
const PYTHON =
  process.platform === 'win32' ? join(ENVIRONMENT, 'Scripts', 'python.exe') : join(ENVIRONMENT, 'bin', 'python')

/**
 * The path of the interpreter that `providePython` set up.
 * @returns {Promise<string>}
 */
export async function findPython() {
  if (await isReady()) {
    return PYTHON
  }
  throw new PlainError('The Python environment of the tests is not set up: run `node scripts/python.mjs` once.')
}

/**
 * Finds a Python of 3.9 or newer, or installs one if the system lets us, and gives it redis-py in an environment of
 * its own under target/.
 * @returns {Promise<string>}
 */
export async function providePython() {
  if (await isReady()) {
    return PYTHON
  }
  if (await setUp()) {
    return PYTHON
  }
  if ((await installWithApt(['python3', 'python3-pip', 'python3-venv'])) && (await setUp())) {
    return PYTHON
  }
  throw new PlainError(
    'The tests need Python 3.9 or newer with venv and pip, and redis-py from PyPI: install Python ' +
      '(Debian and Ubuntu: apt-get install python3 python3-pip python3-venv; macOS: brew install python; ' +
      'others: https://www.python.org/downloads) and see that PyPI can be reached.',
  )
}

async function setUp() {
  const interpreter = await findInterpreter()
  if (interpreter === undefined) {
    return false
  }
  await rm(ENVIRONMENT, { recursive: true, force: true })
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', REDIS_PY]
  const made = await collect(interpreter, ['-m', 'venv', ENVIRONMENT])
  if (made.ok) {
    return (await collect(PYTHON, install, { show: true })).ok
  }
  // Debian splits ensurepip from Python: the system's pip can then install into an environment that has none.
  const [module = '', pip = '', ...rest] = install
  return (
    (await collect(interpreter, ['-m', 'venv', '--clear', '--without-pip', ENVIRONMENT])).ok &&
    (await collect(interpreter, [module, pip, '--python', PYTHON, ...rest])).ok
  )
}

async function findInterpreter() {
  for (const name of ['python3', 'python']) {
    const { ok } = await collect(name, ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))'])
    if (ok) {
      return name
    }
  }
}

async function isReady() {
  const [name, version] = REDIS_PY.split('==')
  return (await collect(PYTHON, ['-c', `import ${name}; assert ${name}.__version__ == '${version}'`])).ok
}

if (isProgram(import.meta.url)) {
  await runMain(async () => console.log(await providePython()))
}
