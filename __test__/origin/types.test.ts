/** What the types promise. The compiler is the test: each `@ts-expect-error` must be one. */

import type { IncomingMessage, ServerResponse } from 'node:http'
import * as v from 'valibot'
import { expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import type { Cache } from '../../cache/index.ts'
import {
  createOrigin,
  type Identity,
  type NodeRequest,
  type NodeResponse,
  type OriginCache,
} from '../../origin/index.ts'

interface Member {
  id: string
  plan: 'free' | 'paid'
}

declare const cache: Cache

function definitions() {
  const origin = createOrigin({
    cache,
    authenticate: async (request): Promise<Member | null> => {
      const id = request.headers.get('x-user')
      return id === null ? null : { id, plan: 'free' }
    },
  })

  origin.context('user', {
    params: z.object({ user_id: z.coerce.number(), page: z.string().optional() }),
    functions: {
      plain: (params, call) => {
        expectTypeOf(params).toEqualTypeOf<Readonly<{ user_id: number; page?: string | undefined }>>()
        expectTypeOf(call.signal).toEqualTypeOf<AbortSignal>()
        expectTypeOf(call.deadline).toEqualTypeOf<number>()
        // @ts-expect-error the functions of a public context are not told who asks
        call.identity
        // @ts-expect-error other functions are given the same parameters
        params.user_id = 6
      },
      with_options: {
        run: ({ user_id }) => expectTypeOf(user_id).toEqualTypeOf<number>(),
        rev: 1,
        ttl: 60,
        cache: true,
      },
    },
  })

  origin.context('cart', {
    params: v.object({
      shop: v.pipe(
        v.string(),
        v.transform((text) => text.length),
      ),
    }),
    auth: true,
    functions: {
      items: ({ shop }, { identity }) => {
        expectTypeOf(shop).toEqualTypeOf<number>()
        expectTypeOf(identity).toEqualTypeOf<Member>()
      },
    },
  })

  origin.context('news', {
    functions: {
      headlines: (params) => {
        // @ts-expect-error there are no parameters
        params.page
      },
    },
  })

  origin.context('declared_public', {
    auth: false,
    functions: {
      // @ts-expect-error declared public
      one: (_params, { identity }) => identity,
    },
  })

  const undecided: boolean = Date.now() > 0
  origin.context('undecided', {
    auth: undecided,
    functions: {
      // @ts-expect-error perhaps public
      other: (_params, { identity }) => identity,
    },
  })

  const rename = origin.mutation('rename', {
    args: z.object({ user_id: z.string().transform(Number), name: z.string() }),
    auth: true,
    affects: [
      'user',
      { context: 'user', params: { user_id: 'user_id' } },
      { context: 'user', params: (args) => ({ user_id: args.user_id, page: args.name }) },
      { context: 'cart', user: 'self' },
      { context: 'cart', user: ({ name }) => name },
    ],
    run: (args, { identity }) => {
      expectTypeOf(args).toEqualTypeOf<{ user_id: number; name: string }>()
      expectTypeOf(identity).toEqualTypeOf<Member>()
      return { renamed: true }
    },
  })
  const identity: Member = { id: 'ann', plan: 'paid' }
  expectTypeOf(rename({ user_id: '5', name: 'Ann' }, { identity }))
    .resolves.toHaveProperty('result')
    .toEqualTypeOf<{
      renamed: boolean
    }>()
  // @ts-expect-error a caller passes what the schema reads, not what it makes
  rename({ user_id: 5, name: 'Ann' }, { identity })
  // @ts-expect-error it needs an identity
  rename({ user_id: '5', name: 'Ann' })

  const publish = origin.mutation('publish', {
    run: async (_args, call) => {
      // @ts-expect-error not declared
      call.identity
      return 1
    },
  })
  expectTypeOf(publish({})).resolves.toHaveProperty('result').toEqualTypeOf<number>()

  origin.mutation('mistaken', {
    args: z.object({ user_id: z.number() }),
    affects: [
      // @ts-expect-error there is no such argument
      { context: 'user', params: { user_id: 'id' } },
      // @ts-expect-error nobody is known to call
      { context: 'cart', user: 'self' },
    ],
    run: () => 1,
  })

  // @ts-expect-error an identity has an id
  createOrigin({ cache, authenticate: () => ({ name: 'ann' }) })

  const anonymous = createOrigin({ cache })
  anonymous.context('cart', { auth: true, functions: { items: (_p, call) => expectTypeOf(call.identity).toBeNever() } })
}

test('types', () => {
  expectTypeOf<Cache>().toExtend<OriginCache>()
  expectTypeOf<IncomingMessage>().toExtend<NodeRequest>()
  expectTypeOf<ServerResponse>().toExtend<NodeResponse>()
  expectTypeOf<Member>().toExtend<Identity>()
  expectTypeOf(definitions).toBeFunction()
})
