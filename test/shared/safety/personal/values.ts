import fc from 'fast-check';
import type { PersonalDataKind } from '../../../../shared/access/personal-data.ts';

const digits = (length: number) => fc.stringMatching(new RegExp(`^\\d{${length}}$`));
const from = (...some: readonly string[]) => fc.constantFrom(...some);

/** Completes a number by the last digit for which `isValid` is true. */
function complete(number: string, isValid: (number: string) => boolean): string {
  const last = [...'0123456789'].find((digit) => isValid(number + digit));
  return number + last;
}

function isLuhn(number: string): boolean {
  const sum = [...number].reverse().reduce((total, digit, index) => {
    const value = Number(digit) * (1 + (index % 2));
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return sum % 10 === 0;
}

const group = (text: string, separator: string) => text.replaceAll(/(.{4})(?=.)/g, `$1${separator}`);

const email = fc
  .tuple(
    fc.stringMatching(/^[a-z][a-z0-9]{2,12}$/),
    from('', '.li', '+news', '_x', '-2'),
    from('example.com', 'mail.example.org', 'example.com.cn', 'xn--fiqs8s.example'),
  )
  .map(([name, tail, domain]) => `${name}${tail}@${domain}`);
const mobile = fc
  .tuple(
    from('138', '159', '186', '199', '131'),
    digits(4),
    digits(4),
    from('', ' ', '-'),
    from('', '+86 ', '+86', '0086-'),
  )
  .map(([head, first, second, separator, country]) => country + [head, first, second].join(separator));
const international = fc
  .tuple(
    from('+1 415 555 ', '+1-212-555-', '+44 20 7946 ', '+49 30 2312 ', '+81-90-1234-', '+91 98765 4', '+61 4 9157 '),
    digits(4),
  )
  .map(([head, tail]) => head + tail);
const residentId = fc
  .tuple(
    from('110101', '310104', '440305', '650102'),
    fc.integer({ min: 1940, max: 2020 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 28 }),
    digits(3),
  )
  .map(([place, year, month, day, order]) => {
    const number = `${place}${year}${String(month).padStart(2, '0')}${String(day).padStart(2, '0')}${order}`;
    const sum = [...number].reduce((total, digit, index) => total + Number(digit) * (2 ** (17 - index) % 11), 0);
    return number + '10X98765432'[sum % 11];
  });
const ssn = fc
  .tuple(fc.integer({ min: 1, max: 665 }), fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: 9_999 }))
  .map(([area, part, serial]) =>
    [String(area).padStart(3, '0'), String(part).padStart(2, '0'), String(serial).padStart(4, '0')].join('-'),
  );
const card = fc
  .tuple(from('4', '51', '55', '2221', '6011', '62', '35'.concat('30')), digits(16), from('', ' ', '-'))
  .map(([prefix, rest, separator]) => group(complete((prefix + rest).slice(0, 15), isLuhn), separator));
const iban = fc.tuple(digits(18), from('', ' ')).map(([account, separator]) => {
  const check = 98n - (BigInt(`${account}131400`) % 97n);
  return group(`DE${String(check).padStart(2, '0')}${account}`, separator);
});
const ipv4 = fc
  .tuple(from('8', '10', '101', '192', '223'), fc.nat(255), fc.nat(255), fc.nat(255))
  .map((parts) => parts.join('.'));
const ipv6 = fc.stringMatching(/^2001:db8(?::[1-9a-f][0-9a-f]{3}){6}$/);
const key = fc.oneof(
  fc.stringMatching(/^AKIA[A-Z2-7]{16}$/),
  fc.stringMatching(/^ghp_[A-Za-z0-9]{36}$/),
  fc.stringMatching(/^sk-proj-[A-Za-z]{20}[0-9][A-Za-z0-9]{17}$/),
  fc.stringMatching(/^eyJ[A-Za-z0-9_-]{20}\.eyJ[A-Za-z0-9_-]{30}\.[A-Za-z0-9_-]{20}$/),
);
const passport = fc
  .tuple(
    digits(9),
    fc.stringMatching(/^[4-9]\d0[1-9](?:0[1-9]|1\d|2[0-8])$/),
    fc.stringMatching(/^3\d0[1-9](?:0[1-9]|1\d|2[0-8])$/),
  )
  .map(([number, born, until]) => {
    const head = `${addDigit(number)}UTO${addDigit(born)}F${addDigit(until)}${addDigit('<'.repeat(14))}`;
    return head + computeDigit(head.slice(0, 10) + head.slice(13, 20) + head.slice(21));
  });

function computeDigit(text: string): string {
  const sum = [...text].reduce((total, character, index) => {
    const value = character === '<' ? 0 : Number.parseInt(character, 36);
    return total + value * (index % 3 === 0 ? 7 : index % 3 === 1 ? 3 : 1);
  }, 0);
  return String(sum % 10);
}

function addDigit(text: string): string {
  return text + computeDigit(text);
}

type OwnKind = Exclude<PersonalDataKind, 'name' | 'address'>;

/** Generates values of each kind. */
export const VALUES: Readonly<Record<OwnKind, fc.Arbitrary<string>>> = {
  email,
  phone: fc.oneof(mobile, international),
  residentId,
  ssn,
  iban,
  card,
  passport,
  ip: fc.oneof(ipv4, ipv6),
  credential: key,
};

/** Generates texts around a value, in both languages and several formats. */
export const contexts: fc.Arbitrary<(value: string) => string> = fc
  .tuple(
    from('', 'Hello, ', '你好，', 'see: ', '（', '"', 'id=', '{"a":"', 'line\n', '\t', '<b>', '[', '：', 'x, '),
    from('', ' and so on', '。谢谢', ', ok?', '）', '"', '&b=1', '"}', '\nend', '</b>', ']', '；', '!'),
  )
  .map(
    ([before, after]) =>
      (value) =>
        `${before}${value}${after}`,
  );

/** Generates a value of any kind. */
export const anyValue = fc.oneof(...Object.values(VALUES));
