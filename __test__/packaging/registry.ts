/** The packages of a release, served as the npm registry would serve them once they are published. */

import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { stagePackages } from '../../scripts/stage-packages.mjs'
import { root } from '../../scripts/system.mjs'
import { run } from './command.ts'

export interface Registry {
  url: string
  /** The tarball of the main package. */
  tarball: string
  close(): Promise<void>
}

interface PackedFile {
  filename: string
}

export async function startRegistry(): Promise<Registry> {
  const directory = await mkdtemp(join(tmpdir(), 'mizan-registry-'))
  const documents = new Map<string, object>()
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '').slice(1)
    const document = documents.get(path)
    if (document !== undefined) {
      response.end(JSON.stringify(document))
    } else if (path.endsWith('.tgz')) {
      readFile(join(directory, basename(path))).then(
        (content) => response.end(content),
        () => response.writeHead(404).end(),
      )
    } else {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

  let mainTarball = ''
  for (const { directory: source, manifest } of await stagePackages(root)) {
    const pack = await run('npm', ['pack', '--json', '--pack-destination', directory, source], { cwd: directory })
    const [packed] = JSON.parse(pack) as [PackedFile]
    const file = join(directory, basename(packed.filename))
    mainTarball ||= file
    const integrity = `sha512-${createHash('sha512')
      .update(await readFile(file))
      .digest('base64')}`
    documents.set(manifest.name, {
      name: manifest.name,
      'dist-tags': { latest: manifest.version },
      versions: { [manifest.version]: { ...manifest, dist: { tarball: `${url}${basename(file)}`, integrity } } },
    })
  }
  return {
    url,
    tarball: mainTarball,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await rm(directory, { recursive: true, force: true })
    },
  }
}
