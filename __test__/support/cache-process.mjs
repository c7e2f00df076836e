/** A process with one cache of its own. Its parent sends calls; each is answered with a result or an error's code. */

import { Cache } from '@mizan/cache'

const cache = new Cache(JSON.parse(process.argv[2]))

process.on('message', async ({ id, method, args }) => {
  try {
    process.send({ id, result: await cache[method](...args) })
  } catch (error) {
    process.send({ id, error: `${error.code}: ${error.message}` })
  }
})
process.on('disconnect', () => process.exit())
process.send({ id: 0 })
