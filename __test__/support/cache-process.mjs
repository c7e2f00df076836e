/** A process with one cache of its own. Its parent sends calls; each is answered with a result or an error's code. */

import { Cache } from '@mizan/cache'

/** @type {Record<string, any>} */
const cache = new Cache(JSON.parse(String(process.argv[2])))

/** @param {unknown} answer */
const send = (answer) => process.send?.(answer)

process.on('message', async (/** @type {any} */ { id, method, args }) => {
  try {
    send({ id, result: await cache[method](...args) })
  } catch (/** @type {any} */ error) {
    send({ id, error: `${error.code}: ${error.message}` })
  }
})
process.on('disconnect', () => process.exit())
send({ id: 0 })
