/** Faults of one server. */

import { findFreePort, type Observer, RedisServer, type RedisServerOptions } from '../support/redis-server.ts'
import type { Fault, Scene } from './fault.ts'

type Trouble = (server: RedisServer, observer: Observer) => Pick<Scene, 'begin' | 'end'> & Partial<Scene>

async function scene(options: RedisServerOptions, trouble: Trouble): Promise<Scene> {
  const server = await RedisServer.start(options)
  return {
    options: { redisUrl: server.url },
    ...trouble(server, await server.observe()),
    observe: async () => [await server.observe()],
    stop: () => server.stop(),
  }
}

const persistent = { persistent: true }

const killed: Trouble = (server) => ({ begin: () => server.kill(), end: () => server.restart() })

const paused: Trouble = (server) => ({ begin: () => server.pause(), end: async () => server.resume() })

/** Commands of the server itself that bring the fault about and end it. */
const configured =
  (begin: string[][], end: string[][]): Trouble =>
  (_server, observer) => {
    const send = async (commands: string[][]) => {
      for (const command of commands) {
        await observer.sendCommand(command)
      }
    }
    return { begin: () => send(begin), end: () => send(end) }
  }

/** It has what it had, follows a primary that does not answer, and takes no writes until it is told to. */
const readOnly: Trouble = (server, observer) => ({
  begin: async () => {
    await observer.replicaOf('127.0.0.1', await findFreePort())
    await observer.configRewrite()
    await server.restart()
  },
  end: async () => {
    await (await server.observe()).sendCommand(['REPLICAOF', 'NO', 'ONE'])
  },
})

const cutAll = ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']

export const standaloneFaults: Fault[] = [
  { name: 'killed, comes back empty', prepare: () => scene({}, killed) },
  { name: 'killed, comes back with its data', prepare: () => scene(persistent, killed) },
  { name: 'stands still', prepare: () => scene({}, paused) },
  { name: 'stands still while 50 KB values are written', heavyLoad: true, prepare: () => scene({}, paused) },
  { name: 'comes back as a replica that only reads', prepare: () => scene(persistent, readOnly) },
  {
    name: 'out of memory (`maxmemory`, `noeviction`)',
    prepare: () =>
      scene({}, configured([['CONFIG', 'SET', 'maxmemory', '1mb']], [['CONFIG', 'SET', 'maxmemory', '0']])),
  },
  {
    name: 'refuses authentication',
    prepare: () =>
      scene({}, configured([['CONFIG', 'SET', 'requirepass', 'x'], cutAll], [['CONFIG', 'SET', 'requirepass', '']])),
  },
  {
    name: 'refuses every command (permissions)',
    prepare: () =>
      scene({ config: ['user app on nopass ~* +@all'] }, (server, observer) => ({
        ...configured([['ACL', 'SETUSER', 'app', '-@all']], [['ACL', 'SETUSER', 'app', '+@all']])(server, observer),
        options: { redisUrl: server.url.replace('//', '//app:any@') },
      })),
  },
]
