/** The page: reads contexts, calls mutations, and shows what the server tells about both. */

const LOG_ROWS = 200

const user = find('#user', HTMLSelectElement)
const book = find('#book', HTMLSelectElement)
const message = find('#message', HTMLElement)
const log = find('#log', HTMLElement)

/**
 * How the data of each context is written, as lines of text.
 * @type {Record<string, (bundle: any) => string[]>}
 */
const writers = {
  book: ({ book, reviews }) => [
    `by ${book.author}`,
    ...reviews.map((/** @type {any} */ review) => `${review.name}: “${review.text}”`),
  ],
  best_sellers: ({ best_sellers }) => best_sellers.map(writeSale),
  orders: ({ orders }) => (orders.length === 0 ? ['None yet.'] : orders.map(writeSale)),
  profile: ({ profile }) => [profile.name],
}

/** @param {{ title: string, copies: number }} sale */
function writeSale({ title, copies }) {
  return `${title}: ${copies.toLocaleString('en')}`
}

// What the visitor does.

/**
 * How often each context was asked for: the answer to an older question is not shown any more.
 * @type {Record<string, number>}
 */
const questions = {}

/** @param {string} context */
async function read(context) {
  const question = (questions[context] ?? 0) + 1
  questions[context] = question
  const query = context === 'book' ? `?book_id=${book.value}` : ''
  const response = await fetch(`/api/mizan/ctx/${context}/${query}`, { headers: identity() })
  const bundle = await response.json()
  if (question !== questions[context]) return
  const section = find(`[data-context=${context}]`, HTMLElement)
  const texts = response.ok ? writers[context]?.(bundle) : [bundle.error.message]
  find('.content', HTMLElement, section).replaceChildren(...(texts ?? []).map((text) => element('li', text)))
  const outcome = outcomeOf(response.status, response.headers.get('cache-status'))
  find('.outcome', HTMLElement, section).replaceWith(element('span', outcome, `outcome ${outcome}`))
}

/**
 * @param {string} fn
 * @param {Record<string, unknown>} args
 */
async function call(fn, args) {
  const response = await fetch('/api/mizan/call/', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...identity() },
    body: JSON.stringify({ fn, args }),
  })
  const { invalidate = [], error } = await response.json()
  message.textContent = error?.message ?? ''
  // What the mutation has changed is read again.
  await Promise.all(
    invalidate.map((/** @type {string | { context: string }} */ target) =>
      read(typeof target === 'string' ? target : target.context),
    ),
  )
}

async function readAll() {
  message.textContent = ''
  await Promise.all(Object.keys(writers).map(read))
}

/** @returns {Record<string, string>} */
function identity() {
  return user.value === '' ? {} : { 'X-Shop-User': user.value }
}

user.addEventListener('change', readAll)
find('#read-all', HTMLElement).addEventListener('click', readAll)
book.addEventListener('change', () => read('book'))
for (const form of document.forms) {
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    const mutation = form.dataset.mutation ?? ''
    const aboutBook = mutation === 'rename' ? {} : { book_id: Number(book.value) }
    call(mutation, { ...Object.fromEntries(new FormData(form)), ...aboutBook })
    form.reset()
  })
}

// What the server tells, of this page and of all others.

/** @typedef {{ method: string, target: string, user?: string, status: number, cacheStatus?: string }} RequestEvent */
/** @typedef {{ context: string, params?: Record<string, string>, user?: string, entries: number }} PurgeEvent */

const events = new EventSource('/events')
// What is read before the server can tell of it would be missing in the log.
events.addEventListener('open', readAll)
events.addEventListener('error', () => {
  message.textContent = 'The server does not answer.'
})
events.addEventListener('request', ({ data }) => {
  /** @type {RequestEvent & { milliseconds: number }} */
  const { method, target, user, status, cacheStatus, milliseconds } = JSON.parse(data)
  const outcome = outcomeOf(status, cacheStatus)
  addRow(outcome, `${method} ${target.replace('/api/mizan', '')}`, user, outcome, milliseconds)
  count(outcome, 1, milliseconds)
})
events.addEventListener('purge', ({ data }) => {
  /** @type {PurgeEvent & { milliseconds: number }} */
  const { context, params, user, entries, milliseconds } = JSON.parse(data)
  const which =
    params === undefined ? ['all entries'] : Object.entries(params).map(([name, value]) => `${name}=${value}`)
  addRow('purge', ['purge', context, ...which].join(' '), user, `${entries} purged`, milliseconds)
  count('purge', entries, milliseconds)
})

/**
 * @param {number} status
 * @param {string | null | undefined} cacheStatus the header (RFC 9211)
 */
function outcomeOf(status, cacheStatus) {
  if (status >= 400) return 'refused'
  if (cacheStatus === null || cacheStatus === undefined) return 'done'
  return cacheStatus.includes('hit') ? 'hit' : 'miss'
}

/**
 * @param {string} kind
 * @param {string} what
 * @param {string | undefined} who
 * @param {string} outcome
 * @param {number} milliseconds
 */
function addRow(kind, what, who, outcome, milliseconds) {
  const row = document.createElement('tr')
  const mark = document.createElement('td')
  mark.append(element('span', outcome, `outcome ${kind}`))
  row.append(element('td', what), element('td', who ?? ''), mark, element('td', writeTime(milliseconds)))
  log.prepend(row)
  log.children[LOG_ROWS]?.remove()
}

/** @type {Record<string, { count: number, times: number[] }>} */
const totals = { hit: { count: 0, times: [] }, miss: { count: 0, times: [] }, purge: { count: 0, times: [] } }

/**
 * @param {string} kind
 * @param {number} number
 * @param {number} milliseconds
 */
function count(kind, number, milliseconds) {
  const total = totals[kind]
  if (total === undefined) return
  total.count += number
  total.times.push(milliseconds)
  total.times.sort((left, right) => left - right)
  const median = total.times[total.times.length >> 1] ?? 0
  find(`#${kind}-count`, HTMLElement).textContent = String(total.count)
  find(`#${kind}-time`, HTMLElement).textContent = `${writeTime(median)} (median)`
}

/** @param {number} milliseconds */
function writeTime(milliseconds) {
  return `${milliseconds.toFixed(milliseconds < 10 ? 2 : 0)} ms`
}

/**
 * @param {string} tag
 * @param {string} text
 * @param {string} [className]
 */
function element(tag, text, className = '') {
  const made = document.createElement(tag)
  made.textContent = text
  made.className = className
  return made
}

/**
 * @template {Element} Wanted
 * @param {string} selector
 * @param {new () => Wanted} type
 * @param {ParentNode} [within]
 */
function find(selector, type, within = document) {
  const found = within.querySelector(selector)
  if (found instanceof type) return found
  throw new Error(`the page has no ${selector}`)
}
