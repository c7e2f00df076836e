/** The check that an addon is what its name says. */

import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkArtefact } from '../../scripts/check-artefact.mjs'
import { root } from '../../scripts/system.mjs'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mizan-artefact-'))
})

afterEach(async () => {
  await rm(directory, { recursive: true, force: true })
})

async function builtAddon(): Promise<string> {
  const names = (await readdir(root)).filter((name) => /^mizan-cache\..*\.node$/.test(name))
  expect(names).toHaveLength(1)
  return join(root, names[0] as string)
}

test('accepts the addon of this build', async () => {
  const { platform } = await checkArtefact(await builtAddon())
  expect(platform).toMatch(`${process.platform}-${process.arch}`)
})

test('refuses that addon under the name of another platform', async () => {
  for (const platform of ['linux-x64-musl', 'linux-arm64-gnu', 'darwin-arm64', 'win32-x64-msvc']) {
    const file = join(directory, `mizan-cache.${platform}.node`)
    await copyFile(await builtAddon(), file)
    if (!(await builtAddon()).includes(platform)) {
      await expect(checkArtefact(file)).rejects.toThrow(`is built for ${process.platform}-${process.arch}`)
    }
  }
})

test.each([
  ['a Mach-O header for ARM', 'darwin-arm64', 'cffaedfe0c000001'],
  ['a Mach-O header for Intel', 'darwin-x64', 'cffaedfe07000001'],
  ['a PE header for Intel', 'win32-x64-msvc', `4d5a${'00'.repeat(58)}40000000504500006486`],
  ['a PE header for ARM', 'win32-arm64-msvc', `4d5a${'00'.repeat(58)}400000005045000064aa`],
])('reads %s, and refuses a file that is no addon', async (_, platform, header) => {
  const file = join(directory, `mizan-cache.${platform}.node`)
  await writeFile(file, Buffer.from(header, 'hex'))
  await expect(checkArtefact(file)).rejects.toThrow('is no addon of Node')
})

test('refuses a file of another kind', async () => {
  const file = join(directory, 'mizan-cache.linux-x64-gnu.node')
  await writeFile(file, 'a text file')
  await expect(checkArtefact(file)).rejects.toThrow('no system that we know')
})
