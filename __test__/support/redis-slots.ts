import { eventually } from './eventually.ts'
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
 * Moves slots with their keys from one primary to another, and back, until it is stopped. Stopping returns how many
 * moves there were.
 */
export async function startMovingSlots(
  primaries: { server: RedisServer; observer: Observer }[],
): Promise<{ stop: () => Promise<number> }> {
  const holders = await Promise.all(primaries.map(asHolder))
  const [most, least] = holders.sort((one, other) => other.slots.length - one.slots.length) as [Holder, Holder]
  if (most.slots.length === 0) {
    throw new Error('no slot has keys to move')
  }
  await giveNewestEpoch(least, holders)
  let isOver = false
  const move = async () => {
    let moves = 0
    for (let from = most, to = least; !isOver; [from, to] = [to, from]) {
      for (let slot = from.slots.pop(); slot !== undefined && !isOver; slot = from.slots.pop()) {
        await moveSlot(slot, from, to, holders)
        to.slots.push(slot)
        moves += 1
      }
      if (!isOver) {
        await giveNewestEpoch(from, holders)
      }
    }
    await agreed(holders)
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

/**
 * Gives one who is about to take slots back the newest epoch, and waits until all know of it. Otherwise it may give one
 * of them up again to the old owner, who has given it up too: such a slot has no owner ever after.
 */
async function giveNewestEpoch(holder: Holder, holders: Holder[]): Promise<void> {
  await holder.observer.sendCommand(['CLUSTER', 'BUMPEPOCH'])
  await agreed(holders)
}

async function agreed(holders: Holder[]): Promise<void> {
  await eventually('the primaries agree on epochs and slots', async () => {
    const views = await Promise.all(holders.map(({ observer }) => epochsAndSlots(observer)))
    return new Set(views).size === 1
  })
}

/** Of each primary its name, its epoch and its slots, as one node sees them. */
async function epochsAndSlots(observer: Observer): Promise<string> {
  const nodes = (await observer.clusterNodes()).split('\n').map((line) => line.split(' '))
  const primaries = nodes.filter(([, , flags = '']) => flags.includes('master'))
  return primaries
    .map(([id, , , , , , epoch, , ...slots]) => [id, epoch, ...slots.filter((slot) => !slot.startsWith('['))].join(' '))
    .sort()
    .join('\n')
}

async function asHolder({ server, observer }: { server: RedisServer; observer: Observer }): Promise<Holder> {
  const keys = await observer.keys('ctx:*')
  const slots = new Set(await Promise.all(keys.map((key) => observer.clusterKeySlot(key))))
  return { id: await observer.clusterMyId(), port: server.port, observer, slots: [...slots] }
}
