/** The tables of docs/reliability.md that commands write, each between two comments that name it. */

import { readFile, writeFile } from 'node:fs/promises'

const PATH = new URL('../docs/reliability.md', import.meta.url)

/** Cells by the heads of their columns; every row has the same. */
export type Row = Record<string, string>

export async function writeTable(name: string, rows: Row[], note: string): Promise<void> {
  const document = await readFile(PATH, 'utf8')
  const [begin, end] = [`<!-- ${name} -->\n`, `<!-- end of ${name} -->\n`]
  const [before, rest] = splitAt(document, begin)
  const [, after] = splitAt(rest, end)
  await writeFile(PATH, `${before}${begin}\n${format(rows)}\n\n${note}\n\n${end}${after}`)
}

function splitAt(text: string, mark: string): [string, string] {
  const index = text.indexOf(mark)
  if (index === -1) {
    throw new Error(`docs/reliability.md lacks the line ${mark}`)
  }
  return [text.slice(0, index), text.slice(index + mark.length)]
}

function format(rows: Row[]): string {
  const heads = Object.keys(rows[0] ?? {})
  const lines = [heads, heads.map(() => '---'), ...rows.map((row) => heads.map((head) => row[head] ?? ''))]
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
