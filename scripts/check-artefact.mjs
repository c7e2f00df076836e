/**
 * Reads from an addon's own headers what it is built for, and compares that with its name: a file that was built for
 * another system, processor or C library under the wrong name would be published and load nowhere.
 * As a program: `node scripts/check-artefact.mjs [--glibc=VERSION] FILE…`; no file may need a newer glibc than that.
 */

import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { isProgram, PlainError, runMain } from './system.mjs'

const ENTRY_POINT = 'napi_register_module_v1'

/**
 * @param {string} file
 * @returns {Promise<{ platform: string, glibc: string | undefined }>} what it is for, and the oldest glibc it loads with
 */
export async function checkArtefact(file) {
  const named = /^mizan-cache\.(.+)\.node$/.exec(basename(file))?.[1]
  const content = await readFile(file)
  const platform = readPlatform(content)
  if (platform !== named) {
    throw new PlainError(`${file} is built for ${platform}.`)
  }
  if (!content.includes(ENTRY_POINT)) {
    throw new PlainError(`${file} is no addon of Node: it does not export ${ENTRY_POINT}.`)
  }
  return { platform, glibc: platform.endsWith('-gnu') ? newestGlibc(content) : undefined }
}

/** @param {Buffer} content */
function newestGlibc(content) {
  const versions = content.toString('latin1').matchAll(/\0GLIBC_(\d+(?:\.\d+)+)(?=\0)/g)
  return [...versions]
    .map(([, version = '']) => version)
    .sort(compareVersions)
    .at(-1)
}

/**
 * @param {string} left
 * @param {string} right
 */
function compareVersions(left, right) {
  return left.localeCompare(right, 'en', { numeric: true })
}

/** @param {Buffer} content */
function readPlatform(content) {
  if (content.readUInt32BE(0) === 0x7f454c46) {
    return readElf(content)
  }
  if (content.readUInt32LE(0) === 0xfeedfacf) {
    return `darwin-${processor(content.readUInt32LE(4), 0x0100_0007, 0x0100_000c)}`
  }
  if (content.toString('latin1', 0, 2) === 'MZ') {
    const header = content.readUInt32LE(0x3c)
    if (content.toString('latin1', header, header + 4) === 'PE\0\0') {
      return `win32-${processor(content.readUInt16LE(header + 4), 0x8664, 0xaa64)}-msvc`
    }
  }
  return 'no system that we know'
}

/** @param {Buffer} content a 64-bit little-endian ELF file */
function readElf(content) {
  const libraries = neededLibraries(content)
  const isGnu = libraries.includes('libc.so.6')
  if (isGnu === libraries.some((library) => /^libc\.(so|musl-.*)$/.test(library))) {
    return 'a C library that we do not know'
  }
  return `linux-${processor(content.readUInt16LE(18), 0x3e, 0xb7)}-${isGnu ? 'gnu' : 'musl'}`
}

/**
 * The shared libraries that the loader will look for (DT_NEEDED).
 * @param {Buffer} content
 */
function neededLibraries(content) {
  const LOAD = 1
  const DYNAMIC = 2
  const NEEDED = 1
  const STRING_TABLE = 5
  const segments = Array.from({ length: content.readUInt16LE(56) }, (_, index) => {
    const header = Number(content.readBigUInt64LE(32)) + index * content.readUInt16LE(54)
    const at = (/** @type {number} */ offset) => Number(content.readBigUInt64LE(header + offset))
    return { type: content.readUInt32LE(header), offset: at(8), address: at(16), size: at(32) }
  })
  const dynamic = segments.find(({ type }) => type === DYNAMIC)
  if (dynamic === undefined) {
    return []
  }
  const entries = Array.from({ length: dynamic.size / 16 }, (_, index) => ({
    tag: Number(content.readBigInt64LE(dynamic.offset + index * 16)),
    value: Number(content.readBigUInt64LE(dynamic.offset + index * 16 + 8)),
  }))
  const table = entries.find(({ tag }) => tag === STRING_TABLE)?.value ?? 0
  const segment = segments.find(
    ({ type, address, size }) => type === LOAD && address <= table && table < address + size,
  )
  const strings = table - (segment?.address ?? 0) + (segment?.offset ?? 0)
  return entries
    .filter(({ tag }) => tag === NEEDED)
    .map(({ value }) => content.toString('latin1', strings + value, content.indexOf(0, strings + value)))
}

/**
 * @param {number} code
 * @param {number} x64
 * @param {number} arm64
 */
function processor(code, x64, arm64) {
  return code === x64 ? 'x64' : code === arm64 ? 'arm64' : `processor ${code}`
}

if (isProgram(import.meta.url)) {
  await runMain(async () => {
    const { values, positionals } = parseArgs({ options: { glibc: { type: 'string' } }, allowPositionals: true })
    if (positionals.length === 0) {
      throw new PlainError('Name the addons: node scripts/check-artefact.mjs [--glibc=VERSION] FILE….')
    }
    for (const file of positionals) {
      const { platform, glibc } = await checkArtefact(file)
      console.log(`${file}: ${platform}${glibc ? `, needs glibc ${glibc}` : ''}`)
      if (values.glibc !== undefined && glibc !== undefined && compareVersions(glibc, values.glibc) > 0) {
        throw new PlainError(`${file} needs glibc ${glibc}, newer than ${values.glibc}.`)
      }
    }
  })
}
