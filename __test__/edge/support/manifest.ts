/** A manifest for origins that the tests write by hand. */

import type { EdgeManifest } from '../../../edge/index.ts'

export const MANIFEST: EdgeManifest = {
  version: 1,
  call: '/api/mizan/call/',
  contexts: {
    board: { endpoints: ['/api/mizan/ctx/board/'], params: [], rev: 0, ttl: 60, scope: 'public' },
    user: { endpoints: ['/api/mizan/ctx/user/'], params: ['user_id'], rev: 2, ttl: 3600.9, scope: 'public' },
    notes: { endpoints: ['/api/mizan/ctx/notes/'], params: [], rev: 0, ttl: 60, scope: 'user' },
    live: { endpoints: ['/api/mizan/ctx/live/'], params: [], rev: 0, ttl: 0, scope: 'public' },
    other: { endpoints: ['/api/mizan/ctx/other/'], params: [], rev: 0, ttl: 60, scope: 'public' },
  },
  mutations: {
    post: { affects: ['board'] },
    rename: { affects: ['user', 'board'] },
  },
}
