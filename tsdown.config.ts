import { defineConfig } from 'tsdown'

const common = { tsconfig: 'tsconfig.build.json', dts: { oxc: true }, fixedExtension: true }

export default defineConfig([
  {
    ...common,
    entry: { index: 'binding/index.ts', origin: 'origin/index.ts' },
    format: ['esm', 'cjs'],
    platform: 'node',
    target: 'node20',
    // Only types, which are in the typings themselves then: no dependency for whoever installs the package.
    inlineOnly: ['@standard-schema/spec'],
  },
  // Workers are ES modules, and have neither Node's API nor native code.
  { ...common, entry: { edge: 'edge/index.ts' }, format: 'esm', platform: 'neutral', target: 'es2022', clean: false },
])
