/** The redis-server that tests start servers, sentinels and cluster nodes from. As a program: finds or installs it. */

import { mkdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { collect, findInPath, installWithApt, isProgram, PlainError, root, runMain } from './system.mjs'

const OLDEST = 7
const LINK = join(root, 'target', 'redis', 'redis-server')

/**
 * The path of a redis-server that is new enough: REDIS_SERVER, or one in PATH, or the one that `provideRedisServer` got.
 * @returns {Promise<string>}
 */
export async function findRedisServer() {
  const named = process.env.REDIS_SERVER
  if (named !== undefined) {
    if (await isNewEnough(named)) {
      return named
    }
    throw new PlainError(
      `REDIS_SERVER (${named}) is no redis-server of version ${OLDEST} or newer: correct or unset it.`,
    )
  }
  for (const candidate of [await findInPath('redis-server'), LINK]) {
    if (candidate !== undefined && (await isNewEnough(candidate))) {
      return candidate
    }
  }
  throw new PlainError(
    `The tests need redis-server ${OLDEST} or newer: install it (Debian 12 and Ubuntu 24.04: apt-get install redis-server; ` +
      'macOS: brew install redis; others: https://redis.io/downloads) or name one in REDIS_SERVER.',
  )
}

/**
 * Finds redis-server, and where none is to be found installs it if the system lets us.
 * @returns {Promise<string>}
 */
export async function provideRedisServer() {
  try {
    return await findRedisServer()
  } catch (error) {
    // Debian's redis-tools carry the server's binary under another name; the package redis-server would add a service
    // that starts with the machine.
    const tools = process.env.REDIS_SERVER === undefined && (await installWithApt(['redis-tools']))
    const binary = tools ? await findInPath('redis-check-rdb') : undefined
    if (binary === undefined) {
      throw error
    }
    await mkdir(join(LINK, '..'), { recursive: true })
    await rm(LINK, { force: true })
    await symlink(binary, LINK)
    return await findRedisServer()
  }
}

/** @param {string} path */
async function isNewEnough(path) {
  const { output } = await collect(path, ['--version'])
  const version = /^Redis server v=(\d+)\./.exec(output)
  return Number(version?.[1]) >= OLDEST
}

if (isProgram(import.meta.url)) {
  await runMain(async () => console.log(await provideRedisServer()))
}
