import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** An authority of the test's own, and a server certificate for 127.0.0.1 that it signed. */
export interface Certificates {
  authority: string
  authorityFile: string
  serverCertificateFile: string
  serverKeyFile: string
  remove(): Promise<void>
}

export async function makeCertificates(): Promise<Certificates> {
  const directory = await mkdtemp(join(tmpdir(), 'mizan-certificates-'))
  const openssl = (...args: string[]) => run('openssl', args, { cwd: directory })
  await openssl(
    'req',
    '-x509',
    ...NEW_KEY,
    '-days',
    '2',
    '-subj',
    '/CN=mizan tests',
    '-keyout',
    'ca.key',
    '-out',
    'ca.pem',
  )
  await openssl('req', ...NEW_KEY, '-subj', '/CN=127.0.0.1', '-keyout', 'server.key', '-out', 'server.csr')
  await writeFile(
    join(directory, 'server.conf'),
    'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n',
  )
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'server.conf']
  await openssl('x509', '-req', '-in', 'server.csr', ...signed, '-out', 'server.pem')
  const authorityFile = join(directory, 'ca.pem')
  return {
    authority: await readFile(authorityFile, 'utf8'),
    authorityFile,
    serverCertificateFile: join(directory, 'server.pem'),
    serverKeyFile: join(directory, 'server.key'),
    remove: () => rm(directory, { recursive: true, force: true }),
  }
}
