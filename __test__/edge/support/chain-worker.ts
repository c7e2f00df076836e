/** A Worker as one deploys it, which counts how often its isolate imported a key. */

import {
  createEdgeWorker,
  type EdgeContext,
  type EdgeEnv,
  type EdgeManifest,
  identifyJwt,
  type PurgeFailure,
} from '../../../edge/index.ts'

declare const MANIFEST: EdgeManifest
declare const ORIGIN: string
declare const ZONE_ID: string

interface Env extends EdgeEnv {
  readonly JWT_SECRET: string
}

let imports = 0
const subtle = Object.getPrototypeOf(crypto.subtle) as typeof crypto.subtle
const { importKey } = subtle
subtle.importKey = function (this: typeof crypto.subtle, ...args: Parameters<typeof importKey>) {
  imports += 1
  return importKey.apply(this, args)
} as typeof importKey

const worker = createEdgeWorker<Env>({
  manifest: MANIFEST,
  origin: ORIGIN,
  identify: identifyJwt({
    secret: (env: Env) => env.JWT_SECRET,
    algorithms: ['HS256'],
    audience: 'shop',
    issuer: 'https://login.example',
  }),
  purge: { zoneId: ZONE_ID, onFailure: raiseAlarm },
})

export default {
  async fetch(request: Request, env: Env, context: EdgeContext): Promise<Response> {
    if (new URL(request.url).pathname === '/test/imports') return new Response(String(imports))
    return worker.fetch(request, env, context)
  },
}

async function raiseAlarm(failure: PurgeFailure): Promise<void> {
  await fetch('https://alarm.example/', { method: 'POST', body: JSON.stringify(failure) })
}
