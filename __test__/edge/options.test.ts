import { expect, test } from 'vitest'
import { createEdgeWorker } from '../../edge/index.ts'
import { MANIFEST } from './support/manifest.ts'

const GOOD = { manifest: MANIFEST, origin: 'https://origin.example', purge: { zoneId: 'zone' } }

const withContext = (changed: object) => ({
  manifest: { ...MANIFEST, contexts: { user: { ...MANIFEST.contexts.user, ...changed } } },
})

test('a Worker needs a manifest and an origin', () => {
  expect(createEdgeWorker(GOOD).fetch).toBeTypeOf('function')
  expect(createEdgeWorker({ manifest: MANIFEST, origin: 'http://127.0.0.1:8787/' }).fetch).toBeTypeOf('function')
})

test.each<[string, object]>([
  ['options.identity', { identity: () => null }],
  ['options.identify', { identify: 'ann' }],
  ['options.origin', { origin: undefined }],
  ['options.origin', { origin: 'origin.example' }],
  ['options.origin', { origin: 'ftp://origin.example' }],
  ['options.origin', { origin: 'https://origin.example/api' }],
  ['options.origin', { origin: 'https://user:password@origin.example' }],
  ['options.purge.zoneId', { purge: {} }],
  ['options.purge.zoneId', { purge: { zoneId: '' } }],
  ['options.purge.onFailure', { purge: { zoneId: 'zone', onFailure: true } }],
  ['options.manifest', { manifest: undefined }],
  ['options.manifest.version', { manifest: { ...MANIFEST, version: 2 } }],
  ['options.manifest.call', { manifest: { ...MANIFEST, call: '/api/mizan' } }],
  ['options.manifest.contexts', { manifest: { ...MANIFEST, contexts: [] } }],
  ['options.manifest.mutations', { manifest: { ...MANIFEST, mutations: undefined } }],
  ['options.manifest.mutations.post.affects', { manifest: { ...MANIFEST, mutations: { post: {} } } }],
  ['options.manifest.contexts.user.endpoints', withContext({ endpoints: ['user'] })],
  ['options.manifest.contexts.user.params', withContext({ params: 'user_id' })],
  ['options.manifest.contexts.user.params', withContext({ params: ['_mizan_key'] })],
  ['options.manifest.contexts.user.rev', withContext({ rev: -1 })],
  ['options.manifest.contexts.user.ttl', withContext({ ttl: '60' })],
  ['options.manifest.contexts.user.scope', withContext({ scope: 'User' })],
  ['options.manifest.contexts.user.scope', withContext({ scope: undefined })],
  ['options.manifest.contexts["us er"]', { manifest: { ...MANIFEST, contexts: { 'us er': MANIFEST.contexts.user } } }],
])('%s is checked', (name, changed) => {
  expect(() => createEdgeWorker({ ...GOOD, ...changed } as never)).toThrow(
    expect.objectContaining({ code: 'ERR_MIZAN_OPTION', message: expect.stringContaining(`${name}:`) }),
  )
})
