import cacheModule = require('@mizan/cache')

async function main(): Promise<void> {
  const options: cacheModule.CacheOptions = { secret: 'a secret of thirty-two bytes or more' }
  const cache: cacheModule.Cache = new cacheModule.Cache(options)
  const wasStored: boolean = await cache.put('user', { id: 5 }, new Uint8Array([65]))
  const text: string | null = await cache.get('user', { id: 5 })
  if (!wasStored || text !== 'A') {
    throw new Error('the cache does not do what its types say')
  }
  await cache.close()
}

async function refused(cache: cacheModule.Cache): Promise<void> {
  // @ts-expect-error: a value is text or bytes
  await cache.put('user', {}, 5)
}

void main()
void refused
