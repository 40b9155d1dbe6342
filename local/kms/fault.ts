/** An exception of the KMS service, under the name that clients know. */
export class KmsFault extends Error {
  override readonly name:
    | 'AlreadyExistsException'
    | 'DisabledException'
    | 'IncorrectKeyException'
    | 'InvalidAliasNameException'
    | 'InvalidCiphertextException'
    | 'KMSInvalidStateException'
    | 'NotFoundException'
    | 'UnknownOperationException'
    | 'ValidationException';

  constructor(name: KmsFault['name'], message = '') {
    super(message);
    this.name = name;
  }
}
