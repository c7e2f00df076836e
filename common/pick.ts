import { BareObject } from './bare-object.ts'

/**
 * The options of these names, the object's own or its class's.
 *
 * What every object inherits is not among them: whoever can pollute `Object.prototype` would otherwise give options to
 * everybody, such as the user of another's entry.
 */
export function pick<Options extends object, Name extends keyof Options>(
  options: Options,
  names: readonly Name[],
): Pick<Options, Name> {
  const picked = new BareObject() as Pick<Options, Name>
  for (const name of names) {
    if (isGiven(options, name)) {
      picked[name] = options[name]
    }
  }
  return picked
}

function isGiven(options: object, name: PropertyKey): boolean {
  let holder: object | null = options
  while (holder !== null && holder !== Object.prototype) {
    if (Object.hasOwn(holder, name)) {
      return true
    }
    holder = Object.getPrototypeOf(holder)
  }
  return false
}
