import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, expect, test } from 'vitest'

const MOST_BYTES = 30_000

let directory: string
let script: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'mizan-edge-'))
  // The directories are wrangler's own: a test leaves nothing in the home of who runs it.
  const env = {
    ...process.env,
    WRANGLER_SEND_METRICS: 'false',
    WRANGLER_LOG_PATH: directory,
    XDG_CONFIG_HOME: directory,
  }
  const args = ['deploy', '--dry-run', '--minify', '--config', 'examples/edge/wrangler.jsonc', '--outdir', directory]
  await promisify(execFile)(process.execPath, ['node_modules/wrangler/bin/wrangler.js', ...args], { env })
  script = await readFile(join(directory, 'worker.js'), 'utf8')
})

afterAll(async () => {
  // wrangler works beside its configuration.
  for (const path of [directory, 'examples/edge/.wrangler']) await rm(path, { recursive: true, force: true })
})

test('the example is built as it would be deployed, jose included, and is small', () => {
  expect(script).toContain('jwks.json')
  expect(script).toContain('JWSSignatureVerificationFailed')
  expect(gzipSync(script).length).toBeLessThan(MOST_BYTES)
})

test('what was built runs in workerd, without any API of Node', async () => {
  expect(script).not.toMatch(/["'](node:)?(crypto|buffer|process|fs|util|stream)["']/)
  const runtime = new Miniflare({
    modules: true,
    script,
    compatibilityDate: '2026-04-01',
    bindings: { MIZAN_CACHE_SECRET: 'a secret of the tests, 32 bytes or more', MIZAN_PURGE_TOKEN: 'token' },
    outboundService: (request: { url: string }) => Response.json(new URL(request.url).hostname) as never,
  })
  try {
    const response = await runtime.dispatchFetch('https://shop.example/api/mizan/ctx/product/?product_id=5')
    // The stand-in does not name its entry, so the request is passed through.
    expect(await response.json()).toBe('origin.shop.example')
    expect(response.headers.get('Cache-Control')).toBe('no-store')
  } finally {
    await runtime.dispose()
  }
})
