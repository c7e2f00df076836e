/** What the programs have in common that is not about a framework: where they listen. */

/** PORT, or any free one. */
export const port = Number(process.env.PORT ?? 0)

/** @param {Pick<import('node:net').Server, 'address'>} server */
export function announce(server) {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address())
  console.log(`http://127.0.0.1:${address.port}`)
}
