/** Faults of the network before one server. */

import { delay, garble, pass, RedisProxy, swallow, type Treatment, truncate } from '../support/redis-proxy.ts'
import { RedisServer } from '../support/redis-server.ts'
import type { Fault, Scene } from './fault.ts'

const CUT_EVERY_MS = 100

async function scene(trouble: (proxy: RedisProxy) => Pick<Scene, 'begin' | 'end'>): Promise<Scene> {
  const server = await RedisServer.start()
  const proxy = await RedisProxy.start(server)
  return {
    options: { redisUrl: proxy.url },
    ...trouble(proxy),
    observe: async () => [await server.observe()],
    stop: async () => {
      await proxy.stop()
      await server.stop()
    },
  }
}

function treated(name: string, treatments: { toServer?: Treatment; toClient?: Treatment }): Fault {
  const prepare = () =>
    scene((proxy) => ({
      begin: async () => {
        Object.assign(proxy, treatments)
      },
      end: async () => {
        Object.assign(proxy, { toServer: pass, toClient: pass })
      },
    }))
  return { name, prepare }
}

export const networkFaults: Fault[] = [
  treated('answers 200 ms late', { toClient: delay(200) }),
  treated('answers 2 s late', { toClient: delay(2_000) }),
  {
    name: 'connections are cut every 100 ms',
    prepare: () =>
      scene((proxy) => {
        let timer: NodeJS.Timeout
        return {
          begin: async () => {
            timer = setInterval(() => proxy.cut(), CUT_EVERY_MS)
          },
          end: async () => clearInterval(timer),
        }
      }),
  },
  treated('half-open: nothing passes, nothing is closed', { toServer: swallow, toClient: swallow }),
  treated('half-open: commands arrive, answers do not', { toClient: swallow }),
  treated('answers are cut in the middle', { toClient: truncate }),
  treated('answers are garbage', { toClient: garble }),
]
