import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The part of a Babel path that a mutator needs. */
interface Path {
  readonly node: SyntaxNode;
}

interface SyntaxNode {
  readonly type: string;
  readonly loc?: { readonly start: { readonly line: number; readonly column: number } } | null;
  readonly expression?: SyntaxNode;
  readonly properties?: readonly SyntaxNode[];
  readonly value?: unknown;
  readonly quasis?: readonly { readonly value: { readonly raw: string } }[];
}

/** A mutator of Stryker's instrumenter: yields what may stand in the place of a node. */
interface Mutator {
  readonly name: string;
  mutate(path: Path, options?: unknown): Iterable<SyntaxNode>;
}

/** Which mutants are tested: all, or a share that depends on the seed alone. */
export interface Sample {
  readonly seed: string;
  /** 0 to 1. */
  readonly share: number;
}

const MUTATORS = 'node_modules/@stryker-mutator/instrumenter/dist/src/mutators/mutate.js';

/** Deletes a statement that is a call or an assignment. Stryker's own `CallExpression` leaves most of them. */
const statementRemoval: Mutator = {
  name: 'StatementRemoval',
  *mutate({ node }) {
    if (node.type !== 'ExpressionStatement' || node.expression?.type === 'StringLiteral') return;
    yield { type: 'BlockStatement', body: [], directives: [] } as SyntaxNode;
  },
};

/** Deletes one property of an object literal. Stryker's own mutators delete all at once. */
const propertyRemoval: Mutator = {
  name: 'PropertyRemoval',
  *mutate({ node }) {
    const { properties } = node;
    if (node.type !== 'ObjectExpression' || properties === undefined || properties.length < 2) return;
    for (const removed of properties)
      yield { ...node, properties: properties.filter((property) => property !== removed) };
  },
};

/**
 * Adds our mutators to those of Stryker and restricts all of them to a sample. Stryker has no plugin for mutators, so this
 * changes the list that its instrumenter reads, and must run before each instrumentation. Stryker must be installed.
 */
export async function installMutators(sample: Sample): Promise<void> {
  const { allMutators } = await import(pathToFileURL(join(import.meta.dirname, MUTATORS)).href);
  originals ??= [...allMutators].filter(({ name }) => name !== 'CallExpression');
  allMutators.length = 0;
  for (const mutator of [...originals, statementRemoval, propertyRemoval])
    allMutators.push({ ...mutator, mutate: (path: Path, options: unknown) => pick(mutator, path, options, sample) });
}

let originals: readonly Mutator[] | undefined;

/** Whether a node is a text for people, such as an error's message. No test asserts their whole wording. */
function isMessage({ node }: Path): boolean {
  const text = node.type === 'TemplateLiteral' ? node.quasis?.[0]?.value.raw : node.value;
  return node.type.endsWith('Literal') && typeof text === 'string' && /^[A-Z`].* /.test(text);
}

function* pick(mutator: Mutator, path: Path, options: unknown, { seed, share }: Sample): Iterable<SyntaxNode> {
  const { line, column } = path.node.loc?.start ?? { line: 0, column: 0 };
  if (isMessage(path)) return;
  let number = 0;
  for (const replacement of mutator.mutate(path, options)) {
    number += 1;
    const hash = createHash('sha256').update(`${seed} ${mutator.name} ${line} ${column} ${number}`).digest();
    if (hash.readUInt32BE() < share * 2 ** 32) yield replacement;
  }
}
