import { defineConfig } from 'tsdown'

export default defineConfig({
  entry: { index: 'binding/index.ts', origin: 'origin/index.ts' },
  format: ['esm', 'cjs'],
  platform: 'node',
  target: 'node20',
  tsconfig: 'tsconfig.build.json',
  dts: { oxc: true },
  // Only types, which are in the typings themselves then: no dependency for whoever installs the package.
  inlineOnly: ['@standard-schema/spec'],
  fixedExtension: true,
})
