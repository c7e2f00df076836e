/** `examples/origin` as a visitor meets it: the program, asked through a browser. */

import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { findChromium } from '../../scripts/chromium.mjs'
import { eventually } from '../support/eventually.ts'
import { type Observer, RedisServer } from '../support/redis-server.ts'
import { ServerProgram } from './program.ts'

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

let browser: Browser
let redis: RedisServer
let observer: Observer

beforeAll(async () => {
  browser = await chromium.launch({ executablePath: await findChromium(), args: FLAGS })
  redis = await RedisServer.start()
  observer = await redis.observe()
})

afterAll(async () => {
  await browser?.close()
  await redis?.stop()
})

describe.for(['memory', 'redis'])('the shop, its cache in %s', (backend) => {
  test('shows what is read, kept, changed and purged', async () => {
    const { address } = await open()
    const ada = await visit(address)
    expect(await ada.page.locator('header').textContent()).toContain(
      backend === 'redis' ? 'a cache in Redis.' : 'a cache in the memory of this process.',
    )
    expect(await ada.rows(4)).toEqual(reads('ada', 'miss'))
    await ada.reads('book', ['by A. Lovelace', /^Grace: /, /^Alan: /])
    await ada.reads('profile', ['Ada'])
    await ada.reads('orders', ['None yet.'])

    await stored(4)
    await ada.readAll()
    expect(await ada.rows(4)).toEqual(reads('ada', 'hit'))
    await ada.counts({ hits: 4, misses: 4, purged: 0 })

    // A review is of one book; the others stay.
    await ada.page.getByLabel('Book').selectOption('2')
    expect(await ada.rows(1)).toEqual(['GET /ctx/book/?book_id=2 | ada | miss'])
    await stored(5)
    await ada.page.getByLabel('Review').fill('<b>An answer, still</b>')
    await ada.page.getByRole('button', { name: 'Review' }).click()
    expect(await ada.rows(3)).toEqual([
      'GET /ctx/book/?book_id=2 | ada | miss',
      'POST /call/ | ada | done',
      'purge book book_id=2 |  | 1 purged',
    ])
    await ada.reads('book', ['by A. Turing', /^Ada: /, 'Ada: “<b>An answer, still</b>”'])
    await stored(5)

    // A name is in every book's reviews, and in one profile.
    await ada.page.getByLabel('Name').fill('Countess of Lovelace')
    await ada.page.getByRole('button', { name: 'Rename' }).click()
    expect(await ada.rows(5)).toEqual([
      'GET /ctx/book/?book_id=2 | ada | miss',
      'GET /ctx/profile/ | ada | miss',
      'POST /call/ | ada | done',
      'purge book all entries |  | 2 purged',
      'purge profile | ada | 1 purged',
    ])
    await ada.reads('profile', ['Countess of Lovelace'])
    await ada.reads('book', ['by A. Turing', /^Countess of Lovelace: /, /^Countess of Lovelace: /])
    await ada.counts({ hits: 4, misses: 8, purged: 4 })
    await stored(4)

    // Somebody else has entries of their own where it is about users, and finds the public ones.
    const grace = await visit(address)
    await grace.rows(4)
    await grace.page.getByLabel('You are').selectOption('grace')
    expect(await grace.rows(4)).toEqual([
      'GET /ctx/best_sellers/ | grace | hit',
      'GET /ctx/book/?book_id=1 | grace | hit',
      'GET /ctx/orders/ | grace | miss',
      'GET /ctx/profile/ | grace | miss',
    ])
    await grace.reads('profile', ['Grace'])
    await stored(7)
    await grace.page.getByRole('button', { name: 'Order a copy' }).click()
    expect(await grace.rows(5)).toEqual([
      'GET /ctx/best_sellers/ | grace | miss',
      'GET /ctx/orders/ | grace | miss',
      'POST /call/ | grace | done',
      'purge best_sellers |  | 1 purged',
      'purge orders | grace | 1 purged',
    ])
    await grace.reads('orders', ['Notes on the Analytical Engine: 1'])
    await stored(7)

    // All of that is told in the first window too; there the orders have stayed.
    await ada.rows(4 + 4 + 5)
    await ada.readAll()
    expect(await ada.rows(4)).toEqual([
      'GET /ctx/best_sellers/ | ada | hit',
      'GET /ctx/book/?book_id=2 | ada | hit',
      'GET /ctx/orders/ | ada | hit',
      'GET /ctx/profile/ | ada | hit',
    ])
    await ada.reads('orders', ['None yet.'])
    await ada.reads('best_sellers', [/.*/, 'Notes on the Analytical Engine: 5,455', /.*/, /.*/])
  })

  async function open() {
    if (backend === 'redis') await observer.flushAll()
    return ServerProgram.start(
      process.execPath,
      ['examples/origin/main.mjs'],
      backend === 'redis' ? { MIZAN_CACHE_REDIS_URL: redis.url } : {},
    )
  }

  /** Answers do not wait for Redis to store them. In memory there is nothing to wait for. */
  async function stored(entries: number): Promise<void> {
    if (backend === 'memory') return
    await eventually(`${entries} entries are in Redis, and no lease`, async () => {
      const types = await Promise.all((await observer.keys('*')).map((key) => observer.type(key)))
      return types.length === entries && types.every((type) => type === 'string')
    })
  }
})

test('who is nobody is refused what belongs to users, and no more', async () => {
  const { address } = await ServerProgram.start(process.execPath, ['examples/origin/main.mjs'])
  const visitor = await visit(address)
  await visitor.rows(4)
  await visitor.page.getByLabel('You are').selectOption('nobody')
  expect(await visitor.rows(4)).toEqual([
    'GET /ctx/best_sellers/ |  | hit',
    'GET /ctx/book/?book_id=1 |  | hit',
    'GET /ctx/orders/ |  | refused',
    'GET /ctx/profile/ |  | refused',
  ])
  await visitor.reads('profile', ['This needs a signed-in user.'])
  await visitor.page.getByRole('button', { name: 'Order a copy' }).click()
  expect(await visitor.rows(1)).toEqual(['POST /call/ |  | refused'])
  await expect.poll(() => visitor.page.locator('#message').textContent()).toBe('This needs a signed-in user.')
})

test('starts anew with what an earlier run left in Redis', async () => {
  await observer.flushAll()
  const environment = { MIZAN_CACHE_REDIS_URL: redis.url }
  const first = await ServerProgram.start(process.execPath, ['examples/origin/main.mjs'], environment)
  const visitor = await visit(first.address)
  await visitor.rows(4)
  await visitor.page.getByLabel('Name').fill('Augusta')
  await visitor.page.getByRole('button', { name: 'Rename' }).click()
  await visitor.reads('profile', ['Augusta'])
  visitor.isLeftAlone = true
  await first.program.interrupt()

  const second = await ServerProgram.start(process.execPath, ['examples/origin/main.mjs'], environment)
  const next = await visit(second.address)
  await next.reads('profile', ['Ada'])
})

test('an interrupt closes it in order while a page is open', async () => {
  const { program, address } = await ServerProgram.start(process.execPath, ['examples/origin/main.mjs'])
  const visitor = await visit(address)
  await visitor.rows(4)
  visitor.isLeftAlone = true
  expect(await program.interrupt()).toEqual({
    code: 0,
    output: `The shop is open at ${address}, its cache in the memory of this process. Ctrl-C closes it.\n`,
  })
  await expect.poll(() => visitor.page.locator('#message').textContent()).toBe('The server does not answer.')
})

/** The reads of all panels, for a visitor who has chosen nothing yet. */
function reads(user: string, outcome: string): string[] {
  return ['best_sellers/', 'book/?book_id=1', 'orders/', 'profile/'].map(
    (target) => `GET /ctx/${target} | ${user} | ${outcome}`,
  )
}

/** A window of the browser on the shop. */
async function visit(address: string): Promise<Visitor> {
  const context = await browser.newContext()
  const page = await context.newPage()
  const visitor = new Visitor(page)
  onTestFinished(async () => {
    await context.close()
    expect(visitor.complaints).toEqual([])
  })
  await page.goto(address)
  return visitor
}

class Visitor {
  readonly page: Page
  readonly complaints: string[] = []
  /** Once the server is gone, the browser may say so. */
  isLeftAlone = false
  #seen = 0

  constructor(page: Page) {
    this.page = page
    page.on('pageerror', (error) => this.#complain(String(error)))
    page.on('console', (message) => {
      const isRefusal = /status of 40[13]/.test(message.text())
      if (message.type() === 'error' && !isRefusal) this.#complain(message.text())
    })
    page.on('response', (response) => {
      if (response.headers()['cache-control'] !== 'no-store') this.#complain(`${response.url()} may be stored`)
    })
  }

  async readAll(): Promise<void> {
    await this.page.getByRole('button', { name: 'Read everything again' }).click()
  }

  /** Waits for so many new rows of the log, and gives what, who and outcome of each in alphabetical order. */
  async rows(count: number): Promise<string[]> {
    const rows = this.page.locator('#log tr')
    await expect.poll(() => rows.count(), { timeout: 20_000 }).toBe(this.#seen + count)
    this.#seen += count
    const cells = await rows.evaluateAll(
      (found, newest) =>
        found
          .slice(0, newest)
          .map((row) => [...(row as unknown as { cells: Cell[] }).cells].map((each) => each.textContent)),
      count,
    )
    for (const [, , , time] of cells) expect(time).toMatch(/^\d+(\.\d\d)? ms$/)
    return cells.map((row) => row.slice(0, 3).join(' | ')).sort()
  }

  /** Waits for a panel to show these lines. */
  async reads(context: string, lines: (string | RegExp)[]): Promise<void> {
    const shown = this.page.locator(`[data-context=${context}] li`)
    const wanted = lines.map((line) => (typeof line === 'string' ? line : expect.stringMatching(line)))
    await expect.poll(() => shown.allTextContents(), { timeout: 20_000 }).toEqual(wanted)
  }

  async counts({ hits, misses, purged }: { hits: number; misses: number; purged: number }): Promise<void> {
    const shown = ['#hit-count', '#miss-count', '#purge-count'].map((selector) =>
      this.page.locator(selector).textContent(),
    )
    expect(await Promise.all(shown)).toEqual([hits, misses, purged].map(String))
  }

  #complain(complaint: string): void {
    if (!this.isLeftAlone) this.complaints.push(complaint)
  }
}

/** A cell of a table, as the page's side knows it. */
interface Cell {
  textContent: string
}
