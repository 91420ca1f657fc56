/** The command line's name for the suggestions that monitors give too; they stand lower because monitors need them. */
export { didYouMean, editDistance, nearest } from '../monitor/suggest.ts';
