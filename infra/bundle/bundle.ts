import type { Metafile } from 'esbuild';

/** One function's code, ready to be zipped or run. */
export interface Bundle {
  /** The function's name: its file's, without extension. */
  readonly name: string;
  /** Absolute path of the module that exports `handler`; what it needs lies in the same folder. */
  readonly file: string;
  /** All its code, lazily loaded parts included. */
  readonly sizeBytes: number;
  /** The same, compressed file by file, as it is in the zip that AWS keeps. */
  readonly gzipBytes: number;
  /** The part of `sizeBytes` that a cold start reads before the first invocation. */
  readonly eagerBytes: number;
  /** What esbuild knows of the bundle: which source file takes which share of which output file. */
  readonly metafile: Metafile;
}
