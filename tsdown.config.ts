import { defineConfig } from 'tsdown'

export default defineConfig({
  entry: { index: 'binding/index.ts' },
  format: ['esm', 'cjs'],
  platform: 'node',
  target: 'node20',
  tsconfig: 'tsconfig.build.json',
  dts: { oxc: true },
  fixedExtension: true,
})
