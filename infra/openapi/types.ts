import { join } from 'node:path';
import {
  API,
  type Checker,
  type Symbol as Member,
  type Project,
  SignatureKind,
  SymbolFlags,
  type Type,
  TypeFlags,
} from 'typescript/unstable/sync';

/** What a value in JSON may be. Parts are functions, because types refer to themselves. */
export type Shape =
  | { readonly kind: 'string' | 'number' | 'boolean' | 'null' | 'unknown' | 'none' }
  | { readonly kind: 'literal'; readonly value: string | number | boolean }
  | { readonly kind: 'array'; readonly element: () => Shape }
  | { readonly kind: 'union'; readonly members: () => readonly Shape[] }
  | {
      readonly kind: 'object';
      readonly properties: () => readonly Property[];
      /** The shape of properties with any other name, if there may be such. */
      readonly others: () => Shape | undefined;
    };

export interface Property {
  readonly name: string;
  readonly optional: boolean;
  readonly shape: () => Shape;
}

/** A method that sends a request. */
export interface MethodSignatures {
  /** The names that lead to the method: `['chat', 'completions', 'create']`. */
  readonly path: readonly string[];
  /** The number of parameters of each signature. */
  readonly signatures: readonly number[];
}

/** Types of a package, read and checked by the TypeScript compiler. */
export interface PackageTypes extends Disposable {
  /**
   * Returns the shape of an exported type of the source.
   * @throws Error if there is no such type
   */
  readonly shapeOf: (name: string) => Shape;
  /** Returns the methods of an exported class of the source, and of the classes that its properties have. */
  readonly listMethods: (name: string) => readonly MethodSignatures[];
  /** Returns why a value in JSON is not of an exported type of the source, and nothing if it is. */
  readonly check: (value: unknown, name: string) => readonly string[];
}

/**
 * Compiles a source that imports a package's types and exports some of them.
 * @param folder absolute path of the folder from which packages are resolved
 * @throws Error if the source has errors
 */
export function readTypes(folder: string, source: string): PackageTypes {
  const file = (name: string): string => join(folder, '.types', name);
  const config = {
    compilerOptions: {
      strict: true,
      target: 'es2024',
      module: 'nodenext',
      allowImportingTsExtensions: true,
      types: [],
      skipLibCheck: true,
      noEmit: true,
    },
    files: ['types.ts', 'value.ts'],
  };
  const files: Record<string, string> = {
    [file('tsconfig.json')]: JSON.stringify(config),
    [file('types.ts')]: source,
    [file('value.ts')]: '',
  };
  // The files exist for the compiler only.
  const api = new API({
    cwd: folder,
    fs: {
      readFile: (name) => files[name],
      fileExists: (name) => (name in files ? true : undefined),
      directoryExists: (name) => (name === join(folder, '.types') ? true : undefined),
    },
  });
  const open = (): Project => {
    const [project] = api.updateSnapshot({ openProjects: [file('tsconfig.json')] }).getProjects();
    if (project === undefined) throw new Error('The compiler has opened no project');
    return project;
  };
  const project = open();
  const errors = describeErrors(project, file('types.ts'));
  if (errors.length > 0) throw new Error(errors.join('\n'));
  const types = readExports(project, file('types.ts'));
  const reader = new ShapeReader(project.checker);
  const find = (name: string): Type => {
    const type = types.get(name);
    if (type === undefined) throw new Error(`The source exports no type ${name}`);
    return type;
  };
  return {
    shapeOf: (name) => reader.read(find(name)),
    listMethods: (name) => listMethods(project.checker, find(name), []),
    check(value, name) {
      find(name);
      files[file('value.ts')] =
        `import type { ${name} } from './types.ts';\nexport const value: ${name} = ${JSON.stringify(value)};`;
      // An open snapshot keeps all that was checked in it.
      using snapshot = api.updateSnapshot({ fileChanges: { changed: [file('value.ts')] } });
      const [changed] = snapshot.getProjects();
      if (changed === undefined) throw new Error('The compiler has closed the project');
      return describeErrors(changed, file('value.ts'));
    },
    [Symbol.dispose]: () => api.close(),
  };
}

function describeErrors({ program }: Project, file: string): string[] {
  return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(describe);
}

interface Message {
  readonly text: string;
  readonly messageChain?: readonly Message[] | undefined;
}

/** Returns an error with its causes, the deepest last. */
function describe({ text, messageChain = [] }: Message): string {
  return [text, ...messageChain.map(describe)].join(' > ');
}

function readExports({ program, checker }: Project, file: string): ReadonlyMap<string, Type> {
  const source = program.getSourceFile(file);
  const module = source && checker.getSymbolAtLocation(source);
  if (module === undefined) throw new Error('The source has no exports');
  return new Map(checker.getExportsOfModule(module).map((type) => [type.name, checker.getDeclaredTypeOfSymbol(type)]));
}

/** The types that requests return. */
const PROMISE = /^(API|Page)Promise</;

function listMethods(checker: Checker, type: Type, path: readonly string[]): MethodSignatures[] {
  return checker.getPropertiesOfType(type).flatMap((member): MethodSignatures[] => {
    const of = checker.getTypeOfSymbol(member);
    if (of === undefined || member.name.startsWith('_')) return [];
    const names = [...path, member.name];
    if (!(member.flags & SymbolFlags.Method)) {
      const isResource = checker.getPropertyOfType(of, '_client') !== undefined;
      return isResource && path.length < MAX_PATH ? listMethods(checker, of, names) : [];
    }
    const signatures = checker.getSignaturesOfType(of, SignatureKind.Call);
    const isRequest = signatures.every((signature) => {
      const result = checker.getReturnTypeOfSignature(signature);
      const isGeneric = (signature.typeParameters?.length ?? 0) > 0;
      return !isGeneric && result !== undefined && PROMISE.test(checker.typeToString(result));
    });
    const counts = signatures.map((signature) => signature.getParameters().length);
    return isRequest ? [{ path: names, signatures: counts }] : [];
  });
}

/** Resources have resources of their own, at most so deep. */
const MAX_PATH = 4;

/** Reads each type once. */
class ShapeReader {
  readonly #checker: Checker;
  readonly #shapes = new Map<number, Shape>();

  constructor(checker: Checker) {
    this.#checker = checker;
  }

  read(type: Type): Shape {
    const known = this.#shapes.get(type.id);
    if (known !== undefined) return known;
    const shape = this.#create(type);
    this.#shapes.set(type.id, shape);
    return shape;
  }

  #create(type: Type): Shape {
    const { flags } = type;
    if (flags & TypeFlags.AnyOrUnknown) return { kind: 'unknown' };
    if (flags & TypeFlags.Null) return { kind: 'null' };
    if (flags & TypeFlags.Boolean) return { kind: 'boolean' };
    if (type.isLiteralType()) return toLiteral(type.value);
    if (flags & TypeFlags.StringLike) return { kind: 'string' };
    if (flags & TypeFlags.Number) return { kind: 'number' };
    if (type.isUnionType()) return this.#toUnion(type.getTypes() ?? []);
    // `string & {}` stands for any string beside literals.
    const parts = type.isIntersectionType() ? (type.getTypes() ?? []) : [];
    if (parts.some((part) => part.flags & TypeFlags.StringLike)) return { kind: 'string' };
    if (type.isObjectType() || parts.length > 0) return this.#toObject(type);
    // Nothing that JSON has: undefined, never, a symbol.
    return { kind: 'none' };
  }

  #toUnion(types: readonly Type[]): Shape {
    const members = once(() => types.map((type) => this.read(type)).filter(({ kind }) => kind !== 'none'));
    return { kind: 'union', members };
  }

  #toObject(type: Type): Shape {
    if (this.#checker.isArrayLikeType(type)) {
      const [element] = type.isTypeReference() ? this.#checker.getTypeArguments(type) : [];
      return element === undefined ? { kind: 'none' } : { kind: 'array', element: once(() => this.read(element)) };
    }
    // A class or an interface with methods, such as a file or a stream, has no form in JSON.
    const members = this.#checker.getPropertiesOfType(type);
    if (members.some(({ flags }) => flags & SymbolFlags.Method)) return { kind: 'none' };
    return {
      kind: 'object',
      properties: once(() => members.flatMap((member) => this.#toProperty(member))),
      others: once(() => {
        const [index] = this.#checker.getIndexInfosOfType(type);
        return index && this.read(index.valueType);
      }),
    };
  }

  #toProperty(member: Member): Property[] {
    const type = this.#checker.getTypeOfSymbol(member);
    if (type === undefined) return [];
    const optional = (member.flags & SymbolFlags.Optional) !== 0;
    return [{ name: member.name, optional, shape: once(() => this.read(type)) }];
  }
}

function toLiteral(value: unknown): Shape {
  const isInJson = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
  return isInJson ? { kind: 'literal', value } : { kind: 'none' };
}

function once<T>(create: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: create() };
    return made.value;
  };
}
