/** Runs a command to its end and returns what it printed. */

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const start = promisify(execFile)
/** Command files on Windows, which only a shell can start. */
const COMMAND_FILES = ['npm', 'npx']

export async function run(command: string, args: string[], options: { cwd?: string } = {}): Promise<string> {
  const shell = process.platform === 'win32' && COMMAND_FILES.includes(command)
  try {
    return (await start(command, args, { ...options, shell })).stdout
  } catch (error) {
    // What is wrong stands in what it printed; its error names only the command.
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${command} ${args.join(' ')}\n${stdout}${stderr}`, { cause: error })
  }
}
