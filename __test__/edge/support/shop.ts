/** A small application: an origin over it, and the same answers without any cache. */

import { z } from 'zod'
import { deterministicJson } from '../../../origin/bundle.ts'
import { createOrigin, type Origin, type OriginOptions } from '../../../origin/index.ts'

export interface User {
  readonly id: string
}

/** What the application knows. Everything in it is read through a context and changed by a mutation. */
export class Shop {
  readonly names = new Map<number, string>()
  readonly posts: string[] = []
  readonly votes = new Map<string, number>()
  readonly messages = new Map<string, string[]>()
  readonly notes = new Map<string, string>()
  readonly drafts = new Map<string, string>()

  profile(userId: number) {
    return { id: userId, name: this.names.get(userId) ?? null }
  }

  votesFor(label: string) {
    return { label, votes: this.votes.get(label) ?? 0 }
  }

  inbox(user: string, page: number) {
    return { user, page, messages: (this.messages.get(user) ?? []).slice(-10 * page) }
  }

  note(user: string) {
    return { user, note: this.notes.get(user) ?? null }
  }

  draft(user: string, draftId: number) {
    return { user, text: this.drafts.get(`${user} ${draftId}`) ?? null }
  }

  rename(userId: number, name: string): void {
    this.names.set(userId, name)
  }

  post(text: string): void {
    this.posts.push(text)
  }

  vote(label: string): void {
    this.votes.set(label, (this.votes.get(label) ?? 0) + 1)
  }

  send(from: string, to: string, text: string): void {
    this.messages.set(to, [...(this.messages.get(to) ?? []), `${from}: ${text}`])
  }

  write(user: string, note: string): void {
    this.notes.set(user, note)
  }

  writeDraft(user: string, draftId: number, text: string): void {
    this.drafts.set(`${user} ${draftId}`, text)
  }
}

const DRAFT = z.object({ draft_id: z.coerce.number().int() })
const LABEL = z.string().trim().toLowerCase()

/** The contexts and mutations of the shop. */
export function shopOrigin(shop: Shop, options: OriginOptions<User>): Origin<User> {
  const origin = createOrigin<User>(options)
  origin.context('profile', {
    params: z.object({ user_id: z.coerce.number().int() }),
    functions: { profile_card: { run: ({ user_id }) => shop.profile(user_id), rev: 3, ttl: 60 } },
  })
  origin.context('board', { functions: { board_posts: () => shop.posts.slice(-5) } })
  origin.context('votes', {
    params: z.object({ label: LABEL }),
    functions: { vote_count: ({ label }) => shop.votesFor(label) },
  })
  origin.context('inbox', {
    params: z.object({ page: z.coerce.number().int().default(1) }),
    auth: true,
    functions: { inbox_messages: ({ page }, { identity }) => shop.inbox(identity.id, page) },
  })
  origin.context('notes', { auth: true, functions: { own_note: (_params, { identity }) => shop.note(identity.id) } })
  origin.context('drafts', {
    params: DRAFT,
    auth: true,
    functions: { own_draft: ({ draft_id }, { identity }) => shop.draft(identity.id, draft_id) },
  })

  origin.mutation('rename', {
    args: z.object({ user_id: z.number().int(), name: z.string() }),
    affects: ['profile'],
    run: ({ user_id, name }) => shop.rename(user_id, name),
  })
  origin.mutation('post', {
    args: z.object({ text: z.string() }),
    affects: ['board'],
    run: ({ text }) => shop.post(text),
  })
  origin.mutation('vote', {
    args: z.object({ label: LABEL }),
    affects: ['votes'],
    run: ({ label }) => shop.vote(label),
  })
  origin.mutation('send', {
    args: z.object({ to: z.string(), text: z.string() }),
    auth: true,
    affects: ['inbox'],
    run: ({ to, text }, { identity }) => shop.send(identity.id, to, text),
  })
  origin.mutation('write_note', {
    args: z.object({ text: z.string() }),
    auth: true,
    affects: [{ context: 'notes', user: 'self' }],
    run: ({ text }, { identity }) => shop.write(identity.id, text),
  })
  origin.mutation('write_draft', {
    args: DRAFT.extend({ text: z.string() }),
    auth: true,
    affects: [{ context: 'drafts', user: 'self' }],
    run: ({ draft_id, text }, { identity }) => shop.writeDraft(identity.id, draft_id, text),
  })
  return origin
}

/** The body that a context has now, had nobody cached it. */
export const bundles = {
  profile: (shop: Shop, userId: number) => deterministicJson({ profile_card: shop.profile(userId) }),
  board: (shop: Shop) => deterministicJson({ board_posts: shop.posts.slice(-5) }),
  votes: (shop: Shop, label: string) => deterministicJson({ vote_count: shop.votesFor(label) }),
  inbox: (shop: Shop, user: string, page: number) => deterministicJson({ inbox_messages: shop.inbox(user, page) }),
  drafts: (shop: Shop, user: string, draftId: number) => deterministicJson({ own_draft: shop.draft(user, draftId) }),
  notes: (shop: Shop, user: string) => deterministicJson({ own_note: shop.note(user) }),
}
