/** One function's code, ready to be zipped or run. */
export interface Bundle {
  /** The function's name: its file's name without extension. */
  readonly name: string;
  /** Absolute path of the module that exports `handler`. The bundle's other files are in the same folder. */
  readonly file: string;
  /** Absolute path of esbuild's metafile: which source file contributes which bytes to which output file. */
  readonly metafile: string;
}
