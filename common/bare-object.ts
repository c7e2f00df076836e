/**
 * An object that inherits nothing, as `Object.create(null)` makes one too, whose members V8 keeps in a hash table, which
 * takes several times as long.
 */
export class BareObject {}
Object.setPrototypeOf(BareObject.prototype, null)
Reflect.deleteProperty(BareObject.prototype, 'constructor')
Object.freeze(BareObject.prototype)
