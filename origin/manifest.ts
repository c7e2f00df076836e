import { compareCodePoints } from './code-points.ts'
import type { Service } from './dispatch.ts'

/** What an origin serves, as the Edge Worker reads it (`protocol.md` §7). */
export interface Manifest {
  readonly version: 1
  /** That the Edge Worker is told which entry a response is. */
  readonly namesEntries: true
  /** The path of mutation calls. */
  readonly call: string
  readonly contexts: Readonly<Record<string, ManifestContext>>
  readonly mutations: Readonly<Record<string, ManifestMutation>>
}

export interface ManifestContext {
  /** The paths it is served at. */
  readonly endpoints: readonly string[]
  /** The names of its parameters, in the order of the key. */
  readonly params: readonly string[]
  readonly rev: number
  /** Seconds; 0 when it must not be cached. */
  readonly ttl: number
  readonly scope: 'public' | 'user'
}

export interface ManifestMutation {
  /** The contexts it changes. */
  readonly affects: readonly string[]
  readonly private: boolean
}

/** `protocol.md` §2. */
const DEFAULT_TTL = 86_400

export function makeManifest({ registry, contextsPath, callPath }: Service): Manifest {
  return {
    version: 1,
    namesEntries: true,
    call: callPath,
    contexts: sorted(registry.contexts, ({ name, parameters, rev, ttl, cached, auth }) => ({
      endpoints: [`${contextsPath}${name}/`],
      params: parameters.names,
      rev,
      ttl: cached ? (ttl ?? DEFAULT_TTL) : 0,
      scope: auth ? 'user' : 'public',
    })),
    mutations: sorted(registry.mutations, (mutation) => ({
      affects: [...new Set(mutation.affects.map(({ context }) => context.name))].sort(compareCodePoints),
      private: mutation.private,
    })),
  }
}

function sorted<From, To>(entries: ReadonlyMap<string, From>, describe: (from: From) => To): Record<string, To> {
  const names = [...entries].sort(([left], [right]) => compareCodePoints(left, right))
  return Object.fromEntries(names.map(([name, from]) => [name, describe(from)]))
}
