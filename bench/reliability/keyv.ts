import KeyvRedis, { createCluster } from '@keyv/redis'
import Keyv from 'keyv'
import { CONNECT_TIMEOUT_MS, type Open, type PeerOptions, socketTimeout } from './peer.ts'

/** @keyv/redis, with every bound on waiting that its documentation and its client's name. */
export function redisStore(options: PeerOptions) {
  const { redisUrl, cluster, commandTimeoutMs } = options
  const clientOptions = {
    commandOptions: { timeout: commandTimeoutMs },
    // The command timeout is only for commands not written yet; this one closes a connection on which nothing moves.
    socket: { connectTimeout: CONNECT_TIMEOUT_MS, socketTimeout: socketTimeout(options) },
    pingInterval: socketTimeout(options) / 2,
  }
  const connect =
    cluster === undefined
      ? { url: redisUrl ?? '', ...clientOptions, disableOfflineQueue: true }
      : createCluster({ rootNodes: cluster.map((url) => ({ url })), defaults: clientOptions })
  const store = new KeyvRedis(connect, {
    connectionTimeout: CONNECT_TIMEOUT_MS,
    throwOnConnectError: false,
    useUnlink: true,
  })
  store.on('error', () => {})
  return store
}

export const open: Open = async (options) => {
  const keyv = new Keyv<string>({ store: redisStore(options), namespace: options.namespace })
  keyv.on('error', () => {})
  return {
    getOrLoad: async (name, load) => {
      const found = await keyv.get(name)
      if (found !== undefined && found !== null) return found
      const loaded = await load()
      await keyv.set(name, loaded)
      return loaded
    },
    purge: (name) => keyv.delete(name),
    purgeAll: () => keyv.clear(),
    close: () => keyv.disconnect(),
  }
}
