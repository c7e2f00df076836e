/** Which objects and arrays keep their structure in the canonical form (`protocol.md` §1.6). */

/** Whether an object's prototype is null or any realm's `Object.prototype`. */
export function isPlainObject(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object)
  return prototype === null || isObjectPrototype(prototype)
}

/** Whether an array is dense, of no class, and without other members. */
export function isPlainArray(array: readonly unknown[]): boolean {
  // Any realm's Array.prototype is itself an array, as no class's prototype is.
  const prototype: unknown = Object.getPrototypeOf(array)
  if (!Array.isArray(prototype) || !isObjectPrototype(Object.getPrototypeOf(prototype))) return false
  // Indices come first and in order, so these are exactly the indices if there are as many and the last is the last.
  const keys = enumerableKeys(array)
  return keys.length === array.length && (keys.length === 0 || keys.at(-1) === String(array.length - 1))
}

/** The keys of own enumerable members, symbols included. */
export function enumerableKeys(object: object): (string | symbol)[] {
  const symbols = Object.getOwnPropertySymbols(object)
  const names = Object.keys(object)
  if (symbols.length === 0) return names
  return [...names, ...symbols.filter((symbol) => Object.prototype.propertyIsEnumerable.call(object, symbol))]
}

/** Whether it is any realm's `Object.prototype`: the one that a native function named `Object` has. */
function isObjectPrototype(value: unknown): boolean {
  if (value === Object.prototype) return true
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== null) return false
  const made = value.constructor
  return (
    typeof made === 'function' &&
    made.prototype === value &&
    Function.prototype.toString.call(made) === 'function Object() { [native code] }'
  )
}
