import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { canonicalForm } from '../../cache/canonical.ts'
import { Cache, type CacheOptions } from '../../cache/index.ts'
import { LocalTexts } from '../../cache/local-texts.ts'
import { native } from '../../cache/native.ts'
import { openCache, SECRET } from '../support/redis-cache.ts'
import { RedisServer } from '../support/redis-server.ts'

let server: RedisServer

beforeAll(async () => {
  server = await RedisServer.start()
})

afterAll(() => server?.stop())

const ID = fc.nat({ max: 3 })
/** From 4,096 bytes on a text is a large one. */
const TEXT = fc
  .tuple(fc.constantFrom(1, 4_095, 4_096, 5_000, 70_000), fc.constantFrom('a', 'b', 'ü', '😀'))
  .map(([length, character]) => character.repeat(length))
const STEP = fc.oneof(
  fc.record({ do: fc.constant('put' as const), id: ID, text: TEXT }),
  fc.record({ do: fc.constant('read' as const), id: ID }),
  fc.record({ do: fc.constant('read' as const), id: ID }),
  fc.record({ do: fc.constant('purge' as const), id: ID }),
  fc.record({ do: fc.constant('purge all' as const) }),
  fc.record({ do: fc.constant('clear' as const) }),
)

describe('a large text is the one that stands there', () => {
  // Fails if two values have one version.
  test.each<[string, () => Partial<CacheOptions>, number]>([
    ['in memory', () => ({}), 300],
    ['among copies of what is on Redis', () => ({ redisUrl: server.url, local: {} }), 100],
  ])('%s', async (_, options, numRuns) => {
    const cache = new Cache({ secret: SECRET, ...options() })
    const property = fc.asyncProperty(fc.array(STEP, { minLength: 10, maxLength: 40 }), async (steps) => {
      await cache.clear()
      const model = new Map<number, string>()
      for (const step of steps) {
        if (step.do === 'put') {
          expect(await cache.put('page', { id: step.id }, step.text)).toBe(true)
          model.set(step.id, step.text)
        } else if (step.do === 'read') {
          const expected = model.get(step.id) ?? null
          expect(await cache.get('page', { id: step.id })).toBe(expected)
          expect(cache.peek('page', { id: step.id })).toBe(expected)
          expect(cache.peek('page', { id: step.id })).toBe(expected)
          expect((await cache.lookup('page', { id: step.id })).value).toBe(expected)
          if (expected === null) await cache.purge('page', { id: step.id })
        } else if (step.do === 'purge') {
          await cache.purge('page', { id: step.id })
          model.delete(step.id)
          expect(cache.peek('page', { id: step.id })).toBe(null)
        } else {
          await (step.do === 'clear' ? cache.clear() : cache.purge('page'))
          model.clear()
        }
      }
    })
    try {
      await fc.assert(property, { numRuns })
    } finally {
      await cache.close()
    }
  })

  test('in the caches of one process that have an entry of the same name each', async () => {
    const [one, two] = [openCache(), openCache()]
    await one.put('page', {}, '1'.repeat(5_000))
    await two.put('page', {}, '2'.repeat(5_000))
    for (let round = 0; round < 3; round += 1) {
      expect([one.peek('page', {}), two.peek('page', {})]).toEqual(['1'.repeat(5_000), '2'.repeat(5_000)])
    }
  })

  test('unless it is no text', async () => {
    const cache = openCache()
    await cache.put('page', {}, new Uint8Array(5_000).fill(0xff))
    for (let round = 0; round < 2; round += 1) {
      expect(() => cache.peek('page', {})).toThrow(expect.objectContaining({ code: 'ERR_MIZAN_VALUE_ENCODING' }))
    }
    await expect(cache.get('page', {})).rejects.toThrow(expect.objectContaining({ code: 'ERR_MIZAN_VALUE_ENCODING' }))
    expect(await cache.getBytes('page', {})).toHaveLength(5_000)
  })

  test('and nothing once the cache is closed', async () => {
    const cache = openCache()
    await cache.put('page', {}, 'x'.repeat(5_000))
    expect(cache.peek('page', {})).toHaveLength(5_000)
    await cache.close()
    expect(cache.peek('page', {})).toBe(null)
    const { entries, purges, purgedEntries } = cache.stats()
    expect({ entries, purges, purgedEntries }).toEqual({ entries: 0, purges: 0, purgedEntries: 0 })
  })
})

describe('how often texts are made', () => {
  /** Texts in memory, with a count of those that were made. */
  function countedTexts() {
    const operations = native.openCache({ secret: SECRET, maxBytes: 100_000_000 })
    let made = 0
    const foundText = () => {
      made += 1
      return operations.foundText()
    }
    const texts = new LocalTexts({ foundText })
    const name = (id: number) => canonicalForm('page', { id }, undefined, undefined)
    return {
      put: (id: number, text: string) => operations.put(name(id), text, undefined, null, 0),
      /** The text at which it peeks, and how many were made for that. */
      peek: (id: number) => {
        const before = made
        return [texts.textOf(operations.peek(name(id))), made - before]
      },
    }
  }

  test('a large one once, until another value takes its place', () => {
    const { put, peek } = countedTexts()
    put(1, 'a'.repeat(5_000))
    expect(peek(1)).toEqual(['a'.repeat(5_000), 1])
    expect(peek(1)).toEqual(['a'.repeat(5_000), 0])
    put(1, 'b'.repeat(5_000))
    expect(peek(1)).toEqual(['b'.repeat(5_000), 1])
    expect(peek(1)).toEqual(['b'.repeat(5_000), 0])
  })

  test('where there are too many to keep, those that are used are kept, and one in 32 of the others', () => {
    const { put, peek } = countedTexts()
    const text = 'a'.repeat(50_000)
    const fit = Math.floor(8_388_608 / text.length)
    const fill = (from: number, to: number) => {
      for (let id = from; id < to; id += 1) {
        put(id, text)
        expect(peek(id)).toEqual([text, 1])
        // Used again and again, and so never the one that goes.
        expect(peek(0)).toEqual([text, 0])
      }
    }
    fill(0, fit)
    fill(fit, fit + 31)
    expect(peek(1)).toEqual([text, 0])
    fill(fit + 31, fit + 32)
    expect(peek(fit + 31)).toEqual([text, 0])
    expect(peek(1)).toEqual([text, 0])
    expect(peek(2)).toEqual([text, 1])
  })

  test('one each time that is too large to keep beside others', () => {
    const { put, peek } = countedTexts()
    put(1, 'a'.repeat(1_048_576))
    put(2, 'b'.repeat(1_048_577))
    expect([peek(1)[1], peek(1)[1], peek(2)[1], peek(2)[1]]).toEqual([1, 0, 1, 1])
  })
})
