import type { Bundle } from './bundle.ts';

/** Prints a table of what each bundle weighs, in KB (1,000 bytes). */
export function printSizes(bundles: readonly Bundle[]): void {
  const rows = [
    ['function', 'read at start', 'with lazy parts', 'gzipped'],
    ...bundles.map(({ name, eagerBytes, sizeBytes, gzipBytes }) => [
      name,
      kilobytes(eagerBytes),
      kilobytes(sizeBytes),
      kilobytes(gzipBytes),
    ]),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const [name = '', ...sizes] of rows) {
    const cells = sizes.map((size, index) => size.padStart(widths[index + 1] ?? 0));
    console.log([name.padEnd(widths[0] ?? 0), ...cells].join('  '));
  }
}

const kilobytes = (bytes: number) => `${(bytes / 1000).toFixed(1)} KB`;
