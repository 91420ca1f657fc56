/** How programs end: an error is one line on stderr; status 2 for usage, 1 for everything else. */
import { errorMessage, GodwitError } from '../error.ts';

/** Runs `main` and ends the process with what it returns, or with its error. */
export async function runMain(program: string, main: () => Promise<number>): Promise<never> {
  try {
    process.exit(await main());
  } catch (error) {
    process.stderr.write(`${program}: ${errorMessage(error)}\n`);
    if (!(error instanceof GodwitError) && error instanceof Error) {
      process.stderr.write('this is a defect of godwit: please report it\n');
    }
    process.exit(error instanceof GodwitError && error.kind === 'usage' ? 2 : 1);
  }
}
