import type { Observer, RedisServer } from './redis-server.ts'

/** A primary of a cluster, as one who moves slots sees it. */
interface Holder {
  id: string
  port: number
  observer: Observer
  /** Those that had keys when the moving began. */
  slots: number[]
}

/**
 * Moves slots with their keys between the first primary and the last, there and back, until it is stopped. Stopping
 * returns how many moves there were.
 */
export async function startMovingSlots(
  primaries: { server: RedisServer; observer: Observer }[],
): Promise<{ stop: () => Promise<number> }> {
  const holders = await Promise.all(primaries.map(asHolder))
  const [first, last] = [holders[0], holders.at(-1)] as [Holder, Holder]
  if (first.slots.length + last.slots.length === 0) {
    throw new Error('no slot of the first primary or the last has keys to move')
  }
  let isOver = false
  const move = async () => {
    let moves = 0
    for (let from = first, to = last; !isOver; [from, to] = [to, from]) {
      for (let slot = from.slots.pop(); slot !== undefined && !isOver; slot = from.slots.pop()) {
        await moveSlot(slot, from, to, holders)
        to.slots.push(slot)
        moves += 1
      }
    }
    return moves
  }
  const moving = move()
  return {
    stop: () => {
      isOver = true
      return moving
    },
  }
}

/** Moves a slot step by step, as `redis-cli --cluster reshard` does. */
async function moveSlot(slot: number, from: Holder, to: Holder, all: Holder[]): Promise<void> {
  await to.observer.sendCommand(['CLUSTER', 'SETSLOT', `${slot}`, 'IMPORTING', from.id])
  await from.observer.sendCommand(['CLUSTER', 'SETSLOT', `${slot}`, 'MIGRATING', to.id])
  for (;;) {
    const keys = await from.observer.clusterGetKeysInSlot(slot, 100)
    if (keys.length === 0) {
      break
    }
    await from.observer.sendCommand(['MIGRATE', '127.0.0.1', `${to.port}`, '', '0', '5000', 'KEYS', ...keys])
  }
  for (const { observer } of [to, from, ...all.filter((each) => each !== to && each !== from)]) {
    await observer.sendCommand(['CLUSTER', 'SETSLOT', `${slot}`, 'NODE', to.id])
  }
}

async function asHolder({ server, observer }: { server: RedisServer; observer: Observer }): Promise<Holder> {
  const keys = await observer.keys('ctx:*')
  const slots = new Set(await Promise.all(keys.map((key) => observer.clusterKeySlot(key))))
  return { id: await observer.clusterMyId(), port: server.port, observer, slots: [...slots] }
}
