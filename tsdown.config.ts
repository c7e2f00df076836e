import { defineConfig, type UserConfig } from 'tsdown'

const common = { tsconfig: 'tsconfig.build.json', dts: { oxc: true }, fixedExtension: true }

const node: UserConfig = { ...common, format: ['esm', 'cjs'], platform: 'node', target: 'node20' }

export default defineConfig([
  // Apart, so that what they share is in each: one file is loaded faster than two.
  // Typings of libraries before TypeScript's ES2026 do not know Symbol.asyncDispose.
  { ...node, entry: { index: 'cache/index.ts' }, banner: { dts: '/// <reference lib="esnext.disposable" />' } },
  {
    ...node,
    entry: { origin: 'origin/index.ts' },
    clean: false,
    // Only types, which are in the typings themselves then: no dependency for whoever installs the package.
    inlineOnly: ['@standard-schema/spec'],
  },
  // Workers are ES modules, and have neither Node's API nor native code.
  { ...common, entry: { edge: 'edge/index.ts' }, format: 'esm', platform: 'neutral', target: 'es2022', clean: false },
])
