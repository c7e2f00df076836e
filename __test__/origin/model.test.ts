/**
 * Random worlds against a model that has no cache: whatever is asked of whichever origin, the answer is what the
 * database says.
 *
 * Tried by taking out one rule at a time; each of these made this suite fail:
 * - parameters: a purge of some of them as if they were all; of a value that the context's schema refuses or changes;
 *   an explicit mapping passed over; an undeclared parameter let through;
 * - users: a purge of a user-scoped context without its user; of the caller's entry where no user is named; a key
 *   without the user;
 * - the rest of a target: no rev; only the first of several; no function-level targets; a broad purge made scoped;
 * - time: answering before the purge; purging before the commit; no purge after a failure past the commit;
 * - loads: storing without the lease; joining a load by its key instead of the lease that was seen; `cache: false`
 *   passed over.
 */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Cache } from '../../cache/index.ts'
import { createOrigin, type Identity } from '../../origin/index.ts'
import { RedisServer } from '../support/redis-server.ts'
import type { FromOrigin, ToOrigin } from './model/origin-process.ts'
import {
  argumentFor,
  authenticate,
  build,
  type Caller,
  type Kind,
  LocalDatabase,
  makePlan,
  meant,
  type Plan,
  type PlannedContext,
  type PlannedMutation,
  Random,
  USERS,
  type Value,
} from './model/world.ts'
import { BACKENDS, call, type Received, receive, SECRET, type Send } from './support.ts'

const STEPS = 500
const WORLDS = 40

/** One of the origins that share a cache. Only the one in this process has the callers of private mutations. */
interface Served {
  readonly send: Send
  readonly callers: ReadonlyMap<string, Caller> | null
}

interface Read {
  readonly context: PlannedContext
  readonly path: string
  readonly user: string | null
  readonly params: Readonly<Partial<Record<Kind, Value>>>
}

describe.each(BACKENDS)('on %s', (backend) => {
  let cache: Cache
  let server: RedisServer | undefined
  let other: OtherOrigin | undefined

  beforeAll(async () => {
    if (backend === 'redis') {
      server = await RedisServer.start()
      other = await OtherOrigin.start(server.url)
    }
    cache = new Cache(
      server === undefined ? { secret: SECRET } : { secret: SECRET, redisUrl: server.url, local: false },
    )
  })

  afterAll(async () => {
    await cache?.close()
    other?.stop()
    await server?.stop()
  })

  test('every response is what the model says', async () => {
    const seeds = fc.asyncProperty(fc.nat(), async (seed) => {
      await cache.clear()
      const plan = makePlan(new Random(seed))
      const database = new LocalDatabase()
      const origin = createOrigin({ cache, authenticate, onError: () => {} })
      const callers = build(origin, plan, database, new Random(seed))
      const served: Served[] = [
        { send: (path, init) => receive(origin.fetch(new Request(`http://origin.test${path}`, init))), callers },
      ]
      if (other !== undefined) served.push({ send: await other.serve(seed, database), callers: null })
      await walk(new World(plan, database, served, new Random(~seed)))
    })
    await fc.assert(seeds, { numRuns: WORLDS, endOnFailure: true })
  }, 600_000)
})

async function walk(world: World): Promise<void> {
  for (let step = 0; step < STEPS; step++) {
    world.tick()
    const kind = world.random.below(10)
    if (kind < 7) await world.readOnce()
    else if (kind < 9) await world.mutateOnce()
    else await world.readAndMutateAtOnce()
  }
}

class World {
  readonly random: Random
  readonly #plan: Plan
  readonly #database: LocalDatabase
  readonly #served: readonly Served[]

  constructor(plan: Plan, database: LocalDatabase, served: readonly Served[], random: Random) {
    this.#plan = plan
    this.#database = database
    this.#served = served
    this.random = random
  }

  tick(): void {
    this.#database.tick()
  }

  async readOnce(): Promise<void> {
    const read = this.#makeRead()
    const response = await this.#send(read)
    if (!refused(read, response)) same(read, response, this.#expected(read))
  }

  async mutateOnce(): Promise<void> {
    await this.#mutate(this.random.pick(this.#plan.mutations))
  }

  /** Reads that overlap with a mutation see each function's data as before it or as after it; later ones as after it. */
  async readAndMutateAtOnce(): Promise<void> {
    const reads = Array.from({ length: 3 }, () => this.#makeRead())
    const again = reads.concat(this.random.pick(reads))
    const before = again.map((read) => this.#expected(read))
    const earlier = again.map((read) => this.#send(read))
    const mutating = this.#mutate(this.random.pick(this.#plan.mutations))
    const during = again.map((read) => this.#send(read))
    await mutating
    const after = again.map((read) => this.#expected(read))
    // Some of the loads that began before the mutation may still run.
    const later = await Promise.all(again.map((read) => this.#send(read)))
    for (const [index, response] of later.entries()) {
      const read = again[index] as Read
      if (!refused(read, response)) same(read, response, after[index] ?? {})
    }
    for (const sent of [earlier, during]) {
      for (const [index, response] of (await Promise.all(sent)).entries()) {
        const read = again[index] as Read
        if (refused(read, response)) continue
        for (const [name, member] of Object.entries(response.json)) {
          if (!isDeepStrictEqual(member, before[index]?.[name])) {
            expect(member, `${name} of ${read.path}`).toEqual(after[index]?.[name])
          }
        }
      }
    }
  }

  #send({ path, user }: Read): Promise<Received> {
    return this.random.pick(this.#served).send(path, { headers: user === null ? {} : { 'x-user': user } })
  }

  #makeRead(): Read {
    const context = this.random.pick(this.#plan.contexts)
    const sent: [string, string][] = []
    const params: Partial<Record<Kind, Value>> = {}
    for (const kind of context.params) {
      const given =
        (kind === 'optional' || kind === 'defaulted') && this.random.chance(40) ? undefined : this.#spelled(kind)
      const value = meant(kind, given)
      if (given !== undefined) sent.push([kind, String(given)])
      if (value !== undefined) params[kind] = value
    }
    if (this.random.chance(20)) sent.unshift(['tracking', String(this.random.below(100))])
    const user = this.random.chance(5) ? null : this.random.pick(Object.keys(USERS))
    return { context, path: `/api/mizan/ctx/${context.name}/?${new URLSearchParams(sent)}`, user, params }
  }

  /** A value as somebody may send it, in one of its spellings. */
  #spelled(kind: Kind): Value {
    return kind === 'lower_case'
      ? this.random.pick(['cats', 'Cats', 'dogs'])
      : this.random.pick([1, 2, '2', '02', 10, '10', '1e1'])
  }

  #expected({ context, params, user }: Read): Record<string, object> {
    const id = context.auth && user !== null ? (USERS[user] as Identity).id : null
    const version = (fn: string) => this.#database.read(fn, context.name, params, id as Value | null)
    return Object.fromEntries(context.functions.map(({ name }) => [name, { params, user: id, version: version(name) }]))
  }

  async #mutate(mutation: PlannedMutation): Promise<void> {
    const args: Record<string, Value> = {}
    for (const target of mutation.targets) {
      for (const kind of target.told) {
        if (this.random.chance(90)) args[argumentFor(target, kind)] = this.#spelled(kind)
      }
    }
    const user = this.random.pick(Object.keys(USERS))
    if (this.random.chance(80)) args.owner = (USERS[this.random.pick(Object.keys(USERS))] as Identity).id as Value
    const served = this.random.pick(this.#served)
    const inside = this.#served[0]?.callers?.get(mutation.name)
    if (mutation.private) {
      const settled = await Promise.allSettled([inside?.(args, mutation.auth ? (USERS[user] as Identity) : null)])
      expect(settled[0].status).toBe(mutation.fails === 'never' ? 'fulfilled' : 'rejected')
    } else {
      const response = await served.send(...call(mutation.name, args, { 'x-user': user }))
      hasStatus(response, { never: 200, before: 409, after: 500 }[mutation.fails])
    }
  }
}

/** Whether a read was refused, as it must be without a user where one is needed, and only then. */
function refused({ context, user }: Read, response: Received): boolean {
  const refusal = context.auth && user === null
  hasStatus(response, refusal ? 401 : 200)
  return refusal
}

// expect() costs more than a request does, so it is only asked to tell a difference.

function same(read: Read, response: Received, expected: object): void {
  const body = response.json
  if (!isDeepStrictEqual(body, expected)) expect(body, read.path).toEqual(expected)
}

function hasStatus(response: Received, status: number): void {
  if (response.status !== status) expect(response.status, response.text).toBe(status)
}

/** The origin in the other process. */
class OtherOrigin {
  readonly #child: ChildProcess
  #database: LocalDatabase | undefined

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(redisUrl: string): Promise<OtherOrigin> {
    const program = fileURLToPath(new URL('model/origin-process.ts', import.meta.url))
    const child = fork(program, [SECRET, redisUrl], { execArgv: ['--import', 'tsx'] })
    await once(child, 'message')
    const origin = new OtherOrigin(child)
    child.on('message', (message: FromOrigin) => origin.#answer(message))
    return origin
  }

  async serve(seed: number, database: LocalDatabase): Promise<Send> {
    this.#database = database
    this.#tell({ seed })
    const [{ address }] = (await once(this.#child, 'message')) as [{ address: string }]
    return (path, init) => receive(fetch(address + path, init))
  }

  stop(): void {
    this.#child.kill()
  }

  #answer(message: FromOrigin): void {
    if ('read' in message) this.#tell({ id: message.id, result: this.#database?.read(...message.read) ?? 0 })
    if ('write' in message) {
      this.#database?.write(...message.write)
      this.#tell({ id: message.id, result: 0 })
    }
  }

  #tell(message: ToOrigin): void {
    this.#child.send(message)
  }
}
