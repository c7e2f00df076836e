/** The Chromium that tests look at pages with. As a program: finds or installs it. */

import { collect, findInPath, installWithApt, isProgram, PlainError, runMain } from './system.mjs'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']
const MAC_APPLICATION = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'

/**
 * The path of a Chromium or Chrome: CHROMIUM, or one in PATH, or where macOS has it.
 * @returns {Promise<string>}
 */
export async function findChromium() {
  const named = process.env.CHROMIUM
  if (named !== undefined) {
    if (await isChromium(named)) {
      return named
    }
    throw new PlainError(`CHROMIUM (${named}) is no Chromium or Chrome: correct or unset it.`)
  }
  for (const candidate of [...(await Promise.all(NAMES.map(findInPath))), MAC_APPLICATION]) {
    if (candidate !== undefined && (await isChromium(candidate))) {
      return candidate
    }
  }
  throw new PlainError(
    'The tests need Chromium or Chrome: install it (Debian: apt-get install chromium; macOS: brew install --cask ' +
      'google-chrome; others: https://www.google.com/chrome) or name one in CHROMIUM.',
  )
}

/**
 * Finds Chromium, and where none is to be found installs it if the system lets us.
 * @returns {Promise<string>}
 */
export async function provideChromium() {
  try {
    return await findChromium()
  } catch (error) {
    if (process.env.CHROMIUM === undefined && (await installWithApt(['chromium']))) {
      return await findChromium()
    }
    throw error
  }
}

/** @param {string} path */
async function isChromium(path) {
  const { output } = await collect(path, ['--version'])
  return /^(Chromium|Google Chrome)/m.test(output)
}

if (isProgram(import.meta.url)) {
  await runMain(async () => console.log(await provideChromium()))
}
