/**
 * Lays the packages of a release out under target/packages: one with the JavaScript, one per platform with its addon.
 * As a program: `node scripts/stage-packages.mjs DIRECTORY` takes the addons from there and wants all of them.
 */

import { copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isProgram, PlainError, root, run, runMain } from './system.mjs'

const STAGE = join('target', 'packages')

/**
 * @typedef {object} StagedPackage
 * @property {string} directory
 * @property {{ name: string, version: string }} manifest
 * @property {boolean} isComplete whether its addon was there
 */

/**
 * @param {string} artefacts the directory that holds the addons
 * @returns {Promise<StagedPackage[]>} the main package first
 */
export async function stagePackages(artefacts) {
  await rm(join(root, STAGE), { recursive: true, force: true })
  await mkdir(join(root, STAGE), { recursive: true })
  if (!(await run('npx', ['napi', 'create-npm-dirs', '--npm-dir', STAGE]))) {
    throw new PlainError('The packages could not be laid out: see the message of napi above.')
  }
  const { napi, scripts: _, devDependencies: __, overrides: ___, ...manifest } = await readManifest(root)
  const platforms = await Promise.all(
    napi.targets.map((/** @type {string} */ target) => stagePlatform(target, artefacts)),
  )

  const directory = join(root, STAGE, 'cache')
  await mkdir(directory)
  for (const file of ['README.md', 'LICENSE', ...manifest.files]) {
    await cp(join(root, file), join(directory, file), { recursive: true })
  }
  manifest.optionalDependencies = Object.fromEntries(
    platforms.map(({ manifest: { name, version } }) => [name, version]),
  )
  await writeFile(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return [{ directory, manifest, isComplete: true }, ...platforms]
}

/**
 * @param {string} target
 * @param {string} artefacts
 * @returns {Promise<StagedPackage>}
 */
async function stagePlatform(target, artefacts) {
  const directory = join(root, STAGE, platformOf(target))
  const manifest = await readManifest(directory)
  await copyFile(join(root, 'LICENSE'), join(directory, 'LICENSE'))
  const isComplete = await copyFile(join(artefacts, manifest.main), join(directory, manifest.main)).then(
    () => true,
    () => false,
  )
  return { directory, manifest, isComplete }
}

/**
 * The name of a Rust target in file and package names.
 * @param {string} target
 */
export function platformOf(target) {
  const arch = target.startsWith('aarch64') ? 'arm64' : 'x64'
  if (target.endsWith('-apple-darwin')) {
    return `darwin-${arch}`
  }
  if (target.endsWith('-windows-msvc')) {
    return `win32-${arch}-msvc`
  }
  return `linux-${arch}-${target.endsWith('musl') ? 'musl' : 'gnu'}`
}

/** @param {string} directory */
async function readManifest(directory) {
  return JSON.parse(await readFile(join(directory, 'package.json'), 'utf8'))
}

if (isProgram(import.meta.url)) {
  await runMain(async () => {
    const [, , artefacts] = process.argv
    if (artefacts === undefined) {
      throw new PlainError('Name the directory that holds the addons: node scripts/stage-packages.mjs DIRECTORY.')
    }
    const packages = await stagePackages(artefacts)
    const missing = packages.filter(({ isComplete }) => !isComplete).map(({ manifest }) => manifest.name)
    if (missing.length > 0) {
      throw new PlainError(`${artefacts} lacks the addons of ${missing.join(', ')}.`)
    }
    for (const { manifest, directory } of packages) {
      console.log(`${manifest.name}@${manifest.version} ${directory}`)
    }
  })
}
