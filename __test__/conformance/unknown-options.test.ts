/** What is no option is refused in one spelling, by the addon and by the TypeScript before it. */

import { expect, test } from 'vitest'
import { Cache } from '../../cache/index.ts'

const SECRET = 'canon-v1-test-secret-0123456789abcdef'
const cache = new Cache({ secret: SECRET })
const open = (options: object) => () => new Cache({ secret: SECRET, ...options })
const long = 'x'.repeat(1_000_000)

test.each<[string, () => unknown]>([
  ['options.secrets is not an option; did you mean secret?', open({ secrets: 1 })],
  ['options.redisURL is not an option; did you mean redisUrl?', open({ redisURL: 1 })],
  ['options.local.maxByte is not an option; did you mean maxBytes?', open({ local: { maxByte: 1 } })],
  ['options.tls.serverName is not an option; did you mean servername?', open({ tls: { serverName: '' } })],
  ['options.sentinel.nam is not an option; did you mean name?', open({ sentinel: { nam: '' } })],
  ['options.colour is not an option', open({ colour: 1 })],
  [String.raw`options.a\nb is not an option`, open({ 'a\nb': 1 })],
  [`options.${long.slice(0, 64)} is not an option`, open({ [long]: 1 })],
  ['scope.userID is not an option; did you mean userId?', () => cache.get('user', {}, { userID: 1 } as object)],
  ['scope.colour is not an option', () => cache.purge('user', {}, { colour: 1 } as object)],
  ['options.ttls is not an option; did you mean ttl?', () => cache.put('user', {}, 'x', { ttls: 1 } as object)],
  [String.raw`scope.a\nb is not an option`, () => cache.peek('user', {}, { 'a\nb': 1 } as object)],
  [`scope.${long.slice(0, 64)} is not an option`, () => cache.get('user', {}, { [long]: 1 } as object)],
])('%s', (message, call) => {
  expect(call).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_OPTION', message }))
})
