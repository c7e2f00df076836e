export default {
  // Addresses of the origin end with a slash, which Next would redirect away.
  skipTrailingSlashRedirect: true,
  // Leaves the package where it is instead of bundling it: it loads its addon from there.
  serverExternalPackages: ['@mizan/cache'],
}
