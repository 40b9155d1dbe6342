import { type MethodSignatures, readTypes, type Shape } from '../../infra/openapi/types.ts';

/** One signature of a client's method. */
export interface Method {
  /** The names that lead to the method: `['chat', 'completions', 'create']`. */
  readonly path: readonly string[];
  /** Its number among the method's signatures, from 0. */
  readonly index: number;
  /** The parameters, without the options of the request, which come last. */
  readonly parameters: readonly Shape[];
  /** Returns why a result is not of the method's type, and nothing if it is. A stream or page is the list of its items. */
  readonly check: (result: unknown) => readonly string[];
}

export interface ClientMethods extends Disposable {
  readonly methods: readonly Method[];
}

/** Returns arguments and result of each signature of a method. A compiler finds them from the last to the first. */
const SIGNATURES = `
type Signatures<F> = F extends {
  (...a: infer A): infer R; (...a: infer B): infer S; (...a: infer C): infer T; (...a: infer D): infer U
} ? [[A, R], [B, S], [C, T], [D, U]] : never;
type Result<R> = Awaited<R> extends infer T
  ? [T] extends [void] ? unknown : T extends AsyncIterable<infer E> ? E[] : T
  : never;
`;
const MAX_SIGNATURES = 4;

/**
 * Reads the methods of a client's resources.
 * @param folder absolute path of the folder from which the package is resolved
 * @param packageName the package, whose default export is the client
 * @param resources the properties of the client to read
 */
export function readMethods(folder: string, packageName: string, resources: readonly string[]): ClientMethods {
  const source = `import type Client from '${packageName}';\n`;
  using client = readTypes(folder, `${source}export type C = Client;`);
  const all = client.listMethods('C').filter(({ path: [first = ''] }) => resources.includes(first));
  const types = readTypes(folder, source + SIGNATURES + all.map(exportSignatures).join('\n'));
  const methods = all.flatMap(({ path, signatures }, position) =>
    listDistinct(signatures).map((count, index): Method => {
      const parameters = Array.from({ length: count }, (_, at) => types.shapeOf(`P${position}_${index}_${at}`));
      return {
        path,
        index,
        parameters: parameters.flatMap(omitRequestOptions),
        check: (result) => types.check(result ?? null, `R${position}_${index}`),
      };
    }),
  );
  return { methods, [Symbol.dispose]: () => types[Symbol.dispose]() };
}

/** Returns the signatures without the last of three or more, which is that of the others together. */
function listDistinct(signatures: readonly number[]): readonly number[] {
  return signatures.length < 3 ? signatures : signatures.slice(0, -1);
}

function exportSignatures({ path, signatures }: MethodSignatures, position: number): string {
  const type = `Signatures<Client${path.map((name) => `['${name}']`).join('')}>`;
  return signatures
    .flatMap((count, index) => {
      // With fewer signatures than the type has, the first ones repeat the first of the method.
      const signature = `${type}[${index + MAX_SIGNATURES - signatures.length}]`;
      const parameters = Array.from(
        { length: count },
        (_, at) => `export type P${position}_${index}_${at} = ${signature}[0][${at}];`,
      );
      return [...parameters, `export type R${position}_${index} = Result<${signature}[1]>;`];
    })
    .join('\n');
}

/** Some parameters are either those of the request or its options. */
function omitRequestOptions(shape: Shape): Shape[] {
  const members = shape.kind === 'union' ? shape.members() : [shape];
  const own = members.filter(
    // Parameters have this option as one that is never set.
    (member) =>
      member.kind !== 'object' ||
      !member.properties().some(({ name, shape: of }) => name === 'maxRetries' && of().kind !== 'none'),
  );
  return own.every(({ kind }) => kind === 'null') ? [] : [{ kind: 'union', members: () => own }];
}
